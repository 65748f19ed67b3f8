"""What is known of one picture in its own size: the mask, and the probabilities where they are wanted."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F


def class_probabilities(logits: Tensor) -> Tensor:
    """(B, K, H, W) float32 that add up to one, from K > 1 logits; with one logit that of class 1 alone."""
    logits = logits.float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


def resize_plane(plane: Tensor, shape: tuple[int, int]) -> Tensor:
    """(h, w) -> ``shape``, bilinear; averaged over the pixels that fall together where it becomes smaller."""
    if tuple(plane.shape) == shape:
        return plane
    smaller = shape[0] < plane.shape[0] or shape[1] < plane.shape[1]
    return F.interpolate(plane[None, None], size=shape, mode="bilinear", antialias=smaller)[0, 0]


class Answer:
    """Mask and probabilities of a picture, filled at once or from the top downwards.

    The class is that of the largest probability *after* resizing, so borders are as smooth as the picture's size
    allows.

    Args:
        shape: (height, width) of the picture.
        channels: 1 for two classes, else their number.
        keep: whether probabilities are kept, too.

    Attributes:
        mask: (H, W) uint8 class ids.
        probabilities: (C, H, W) float16, one plane for each class (two for one channel), or ``None``.
    """

    def __init__(self, shape: tuple[int, int], channels: int, keep: bool = False) -> None:
        self.shape = shape
        self.channels = channels
        self.mask = torch.zeros(shape, dtype=torch.uint8)
        self.probabilities = torch.zeros((max(channels, 2), *shape), dtype=torch.float16) if keep else None

    def fill(self, values: Tensor) -> None:
        """The whole picture from (K, h, w) probabilities of another size.

        Class by class, so that K planes of the picture's size are never there together.
        """
        self._put(0, self.shape[0], (resize_plane(plane, self.shape) for plane in values))

    def put_rows(self, top: int, values: Tensor) -> None:
        """Rows from ``top`` on, of the picture's own width: (K, h, W)."""
        self._put(top, top + values.shape[1], iter(values))

    def _put(self, top: int, bottom: int, planes: Iterator[Tensor]) -> None:
        mask, best = self.mask[top:bottom], next(planes)
        self._keep(0, top, best)
        if self.channels == 1:
            mask.copy_(best > 0.5)
            return
        best = best.clone()
        for number, plane in enumerate(planes, start=1):
            self._keep(number, top, plane)
            mask.masked_fill_(plane > best, number)  # of equals the first, as argmax
            torch.maximum(best, plane, out=best)

    def _keep(self, number: int, top: int, plane: Tensor) -> None:
        if self.probabilities is None:
            return
        rows = slice(top, top + plane.shape[0])
        if self.channels == 1:
            self.probabilities[0, rows] = 1 - plane
            self.probabilities[1, rows] = plane
        else:
            self.probabilities[number, rows] = plane
