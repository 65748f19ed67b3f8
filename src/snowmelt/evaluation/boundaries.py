"""Boundary F-score: does a predicted outline lie where the true one does, within a tolerance?"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from snowmelt.errors import SnowmeltError

TOLERANCE = 0.0075  # of the image's diagonal
LEAST = 1.0  # pixels: less would ask small images for outlines that are exact


class BoundaryScore:
    """F-score of boundaries by class, averaged over images (Csurka, Larlus, Perronnin: What is a good evaluation
    measure for semantic segmentation?, BMVC 2013).

    A pixel of a class is on its boundary when one of its four neighbours has another class. Precision is the share of
    predicted boundary pixels that have a true one of the class within ``tolerance``, recall the reverse, and the score
    of a class in an image their harmonic mean. It is 0 where only one of the two sides has a boundary; an image where
    neither has one does not count for the class. The frame of the image and whatever touches only ignored pixels is no
    boundary.

    Args:
        classes: number of classes C, background included.
        ignore_index: pixels whose truth has this label are looked at on neither side.
        tolerance: Euclidean, as a share of the diagonal of the part of an image that reaches to its last labelled row
            and column (so padding below or on the right does not count); at least one pixel.
        exact: float64 sums; ``False`` for devices that have none.

    Attributes:
        totals: (2, C): sum of the scores, images that count. May be all-reduced in place.

    O(C) memory; an image costs about 4 pi (tolerance in pixels)^2 comparisons a pixel. Nothing waits for the device.
    """

    def __init__(
        self,
        classes: int,
        ignore_index: int | None = None,
        tolerance: float = TOLERANCE,
        device: torch.device | str | None = None,
        exact: bool = True,
    ) -> None:
        if not 0 <= tolerance < 1:
            raise SnowmeltError(
                f"boundary tolerance {tolerance:g}: it is a share of the diagonal, from 0 to below 1",
                code="argument-value",
            )
        self.classes, self.ignore_index, self.tolerance = classes, ignore_index, tolerance
        precise = torch.float64 if exact else torch.float32
        self.totals = torch.zeros(2, classes, dtype=precise, device=device)

    def add(self, predictions: Tensor, targets: Tensor) -> None:
        """Add a batch of class indices, (B, H, W) twice, on the device of ``totals``."""
        if predictions.shape != targets.shape or predictions.ndim != 3:
            raise SnowmeltError(
                f"labels of shapes {tuple(predictions.shape)} and {tuple(targets.shape)} have no boundaries to "
                "compare; give (batch, height, width) twice",
                code="array-shape",
            )
        scores = boundary_scores(predictions, targets, self.classes, self.ignore_index, self.tolerance)
        counts = ~scores.isnan()
        self.totals += torch.stack([scores.nan_to_num(0.0).sum(0), counts.sum(0)]).to(self.totals.dtype)

    def scores(self) -> Tensor:
        """(C,) float64 on the CPU, NaN for a class without a boundary anywhere."""
        total, images = self.totals.cpu().double()
        return torch.where(images > 0, total / images.clamp(min=1), torch.nan)


def boundary_scores(
    predictions: Tensor,
    targets: Tensor,
    classes: int,
    ignore_index: int | None = None,
    tolerance: float = TOLERANCE,
) -> Tensor:
    """(B, C) float32: the F-score of each class in each image, NaN where neither side has a boundary of it."""
    valid = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
    truth, shown = (_outline(labels, valid) for labels in (targets, predictions))
    limit = _squared_limits(valid, tolerance)
    found_truth, found_shown = torch.zeros_like(valid), torch.zeros_like(valid)
    farthest = max(LEAST, tolerance * math.hypot(*valid.shape[1:])) * (1 + 1e-6)  # of any image, rounding included
    reach = math.floor(farthest)
    around_shown, around_truth = (F.pad(outline, (reach,) * 4, value=-1) for outline in (shown, truth))
    height, width = valid.shape[1:]
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            if down**2 + across**2 > farthest**2:
                continue
            near = (down**2 + across**2 <= limit)[:, None, None]
            rows, columns = slice(reach + down, reach + down + height), slice(reach + across, reach + across + width)
            found_truth |= near & (around_shown[:, rows, columns] == truth)
            found_shown |= near & (around_truth[:, rows, columns] == shown)
    recall = _share(found_truth, truth, classes)
    precision = _share(found_shown, shown, classes)
    # 0 / 0 (NaN) is a side without a boundary. Both: no score; one: a score of 0.
    only_one = recall.isnan() ^ precision.isnan()
    both = recall + precision
    score = torch.where(both > 0, 2 * recall * precision / both, both)
    return torch.where(only_one, torch.zeros_like(score), score)


def _outline(labels: Tensor, valid: Tensor) -> Tensor:
    """(B, H, W) int16: the class of a pixel on a boundary, -1 elsewhere."""
    labels = labels.to(torch.int16)
    edge = torch.zeros_like(valid)
    for axis in (1, 2):
        length = labels.shape[axis]
        one, other = (labels.narrow(axis, start, length - 1) for start in (0, 1))
        known = valid.narrow(axis, 0, length - 1) & valid.narrow(axis, 1, length - 1)
        differ = (one != other) & known
        edge.narrow(axis, 0, length - 1).logical_or_(differ)
        edge.narrow(axis, 1, length - 1).logical_or_(differ)
    return torch.where(edge, labels, torch.full_like(labels, -1))


def _squared_limits(valid: Tensor, tolerance: float) -> Tensor:
    """(B,) squared tolerance in pixels of each image."""
    extents = []
    for axis in (1, 2):
        there = valid.any(dim=3 - axis)  # (B, H) or (B, W)
        places = torch.arange(1, there.shape[1] + 1, device=valid.device)
        extents.append((there * places).amax(dim=1))
    height, width = (extent.float() for extent in extents)
    return (tolerance * (height**2 + width**2).sqrt()).clamp(min=LEAST) ** 2


def _share(found: Tensor, outline: Tensor, classes: int) -> Tensor:
    """(B, C) share of each class's boundary pixels that were found; NaN where it has none."""
    images = len(outline)
    place = torch.where(outline >= 0, outline, torch.full_like(outline, classes)).reshape(images, -1).long()
    counts = []
    for what in (found, outline >= 0):
        empty = torch.zeros(images, classes + 1, dtype=torch.float32, device=outline.device)
        counts.append(empty.scatter_add_(1, place, what.reshape(images, -1).float())[:, :classes])
    return counts[0] / counts[1]
