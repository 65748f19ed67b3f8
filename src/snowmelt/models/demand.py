"""A description of a few bytes can ask for a network of any size: what is built has to be about what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.encoder_search import build_without_memory

_SPARE = 50_000_000
"""Numbers that may be missing, so that an incomplete file still gets the list of what it lacks."""


def refuse_demand(build: Callable[[], nn.Module], state: Mapping[str, Tensor]) -> None:
    """Finds out how large the network would be without taking the memory for it.

    Errors: SnowmeltError for one of more than twice the numbers in ``state``, and those of ``build``.
    """
    there = sum(tensor.numel() for tensor in state.values())
    asked = sum(tensor.numel() for tensor in build_without_memory(build).state_dict().values())
    if asked > 2 * there + _SPARE:
        raise SnowmeltError(
            f"it describes a network of {asked:,} numbers, but holds {there:,}; it is damaged or cut short",
            code="weights-keys",
        )
