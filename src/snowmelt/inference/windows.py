"""Windows that cover a length with overlap, and the weights that blend them without a seam."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError

MOST_OVERLAP = 0.75


@dataclass(frozen=True)
class Window:
    """Pixels ``start`` to ``start + len(weights)`` of an axis; ``weights``: (n,) float32, what it says there counts.

    The weights of all windows over a pixel add up to one.
    """

    start: int
    weights: Tensor

    @property
    def stop(self) -> int:
        return self.start + len(self.weights)


def cover(length: int, tile: int, overlap: float) -> list[Window]:
    """As few windows of ``tile`` pixels as overlap by the given share, spread evenly; one where all fits into it.

    Between neighbours the weight passes over along half a cosine in the middle half of what they share. In the outer
    quarters it is 0 and 1: there a network that sees no further than this misses nothing at the edge of its window.
    At the ends of the axis, where no neighbour is, the weight stays 1.

    Raises ``SnowmeltError`` for a tile below 1 pixel or an overlap outside 0 to 0.75.
    """
    if tile < 1:
        raise SnowmeltError(f"tiles of {tile} pixels: give at least 1", code="option-value")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise SnowmeltError(
            f"overlap {overlap}: give a share of the tile from 0 to {MOST_OVERLAP}", code="option-value"
        )
    if length <= tile:
        return [Window(0, torch.ones(length))]
    step = max(1, round(tile * (1 - overlap)))
    spaces = math.ceil((length - tile) / step)
    starts = [index * (length - tile) // spaces for index in range(spaces + 1)]
    raw = [_raw_weights(starts, index, tile) for index in range(len(starts))]
    total = torch.zeros(length, dtype=torch.float64)
    for start, weights in zip(starts, raw, strict=True):
        total[start : start + tile] += weights
    return [
        Window(start, (weights / total[start : start + tile]).float())
        for start, weights in zip(starts, raw, strict=True)
    ]


def _raw_weights(starts: list[int], index: int, tile: int) -> Tensor:
    """(tile,) float64, before neighbours are made to add up to one (where three overlap they do not by themselves)."""
    weights = torch.ones(tile, dtype=torch.float64)
    if index > 0:
        shared = starts[index - 1] + tile - starts[index]
        weights[:shared] *= _rise(shared)
    if index + 1 < len(starts):
        shared = starts[index] + tile - starts[index + 1]
        weights[tile - shared :] *= 1 - _rise(shared)
    return weights


def _rise(pixels: int) -> Tensor:
    """(pixels,) float64 from 0 to 1, flat in the first and the last quarter."""
    position = (torch.arange(pixels, dtype=torch.float64) + 0.5) / max(pixels, 1)
    return (1 - torch.cos(torch.pi * ((position - 0.25) * 2).clamp(0, 1))) / 2
