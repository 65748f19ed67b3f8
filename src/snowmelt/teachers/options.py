"""What opening a teacher may need to know beyond its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from snowmelt.models import Normalisation

Outputs = Literal["auto", "logits", "probabilities"]


def _silent(line: str) -> None:
    pass


@dataclass(frozen=True)
class OpenOptions:
    """The same for all kinds; a kind that has no use for one of them leaves it alone."""

    classes: tuple[str, ...]
    """Names of the student's classes."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where the answers are wanted."""
    autocast: Callable[[], AbstractContextManager[Any]] | None = None
    """Context for a network's forward pass; None for full precision."""
    network: Mapping[str, Any] | None = None
    """What the user named of ``architecture``, ``encoder``, ``depth``, ``decoder_channels``; None or a key that is not
    there: find out."""
    normalisation: Normalisation | None = None
    """None: what the file says, or what the kind knows."""
    size: int | None = None
    """Side of the square that the user wants the model to see; for kinds whose own size is a habit and no demand."""
    outputs: Outputs = "auto"
    """What the model gives; ``auto``: find out."""
    probe: Callable[[], Tensor] | None = None
    """Gives a few real pictures, (B, 3, N, N) uint8, to find out what the outputs are."""
    say: Callable[[str], None] = _silent
    """Takes a line for the log."""
