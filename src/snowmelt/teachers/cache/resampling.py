"""Maps to other grids: a teacher's answer to a coarser one and back, and from the clean picture to an augmented one.

All grids cover the same square and count cells, not corners (``align_corners=False``): cell i of n has its centre at
(2 i + 1) / n - 1 on an axis from -1 to 1.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor


def replicate_edges(logits: Tensor, filled: tuple[int, int]) -> Tensor:
    """What lies outside the picture becomes the picture's edge, so that coarser cells do not mix it with padding.

    Shape: (C, N, N) -> (C, N, N). ``filled``: (h, w) of the picture, which lies at the top left.
    """
    (height, width), size = filled, logits.shape[-1]
    if height == width == size:
        return logits
    return F.pad(logits[None, :, :height, :width], (0, size - width, 0, size - height), mode="replicate")[0]


def shrink(maps: Tensor, stride: int) -> Tensor:
    """(..., N, N) -> (..., N / stride, N / stride): the coarse map whose bilinear enlargement comes closest.

    Closest in the sum of squares. Plain averages blur twice, once here and once when they are enlarged; against them
    this halves the divergence that is left at stride 2 (measured on real teachers, see ``choice``). It pays with an
    overshoot of some percent at hard edges of the coarse map, which the enlargement takes back.
    """
    if stride == 1:
        return maps
    projection = _projection(maps.shape[-1], stride).to(maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return projection @ maps @ projection.T


@functools.lru_cache(maxsize=16)
def _projection(size: int, stride: int) -> Tensor:
    """(n, N): least squares for one axis, the pseudo-inverse of bilinear enlargement."""
    cells = torch.eye(size // stride, dtype=torch.float64)
    enlargement = F.interpolate(cells[None], size=size, mode="linear", align_corners=False)[0].T
    return torch.linalg.pinv(enlargement).float()


def resample(maps: Tensor, placement: Tensor, size: int) -> Tensor:
    """Stored maps as the augmented pictures see them: bilinear, beyond the map its edge.

    ``grid_sample`` on a contiguous map takes 1 ms for 8 x 7 x 128 x 128 on one CPU thread and its grid 0.7 ms.
    Channels last is no faster, and two matrix products (possible without rotation) are not either.

    Shape: ``maps`` (B, C, h, w) float32, ``placement`` (B, 2, 3) float32, the theta of ``affine_grid``: from
    coordinates of the augmented picture to those of the map, both from -1 to 1 in the order (x, y). Returns
    (B, C, size, size).
    """
    shape = [maps.shape[0], maps.shape[1], size, size]
    # affine_grid is a matrix product, and in bfloat16 its positions would be off by half a pixel and more.
    with torch.autocast(maps.device.type, enabled=False):
        grid = F.affine_grid(placement, shape, align_corners=False)
        return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def enlarge(maps: Tensor, size: int) -> Tensor:
    """``resample`` for pictures that are not augmented: (B, C, h, w) -> (B, C, size, size)."""
    if maps.shape[-1] == size:
        return maps
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)
