"""Whether tensors that are taken for trained weights can be: numbers that are none, and layers that pass nothing on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from snowmelt.errors import SnowmeltError

_NAMED_AT_MOST = 20  # keys that one message spells out


def find_flaws(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Key -> what is wrong with its tensor, for each that cannot come out of training.

    Any tensor: NaN, infinite. The weight of a convolution or a linear layer with more than one element: all its
    elements are one number (zero variance), so that it tells nothing from anything. The variances of a norm: negative,
    or all zero. Everything else may be constant, and often is: the weights of a norm are 1 before training and 0 where
    a block starts as an identity, biases are 0, scales of layers are one small number. Single variances of 0 are no
    flaw: that of a channel that died fades to zero, and in half precision it is soon there.

    Args:
        network: whose modules say which keys belong to a convolution or a linear layer.
        state: tensors by the keys of the network's state dict.
    """
    matrices = {
        f"{name}.weight" if name else "weight"
        for name, module in network.named_modules()
        if isinstance(module, _ConvNd | nn.Linear)
    }
    found = ((key, _flaw(key, value, key in matrices)) for key, value in state.items())
    return {key: what for key, what in found if what is not None}


def refuse_flaws(network: nn.Module, state: Mapping[str, Tensor], whose: str) -> None:
    """Errors: SnowmeltError that begins with ``whose`` and names every flaw, up to twenty."""
    if flaws := find_flaws(network, state):
        raise SnowmeltError(
            f"{whose}: {tell_flaws(flaws)}; such weights are damaged, take a sound copy", code="weights-broken"
        )


def tell_flaws(flaws: Mapping[str, str]) -> str:
    """``2 broken: stem.weight (NaN), ...``"""
    return f"{len(flaws)} broken: {listed(f'{key} ({what})' for key, what in flaws.items())}"


def listed(keys: Iterable[str]) -> str:
    """The first twenty keys and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - _NAMED_AT_MOST} more" if len(keys) > _NAMED_AT_MOST else ""
    return ", ".join(keys[:_NAMED_AT_MOST]) + more


def _flaw(key: str, value: Tensor, is_matrix: bool) -> str | None:
    if not value.is_floating_point() or not value.numel():
        return None
    if not torch.isfinite(value).all():
        return "NaN" if torch.isnan(value).any() else "infinite"
    if is_matrix and value.numel() > 1 and bool((value == value.flatten()[0]).all()):
        return "zero variance"
    if key.endswith("running_var"):
        if (value < 0).any():
            return "negative variance"
        if not value.any():
            return "all variances zero"
    return None
