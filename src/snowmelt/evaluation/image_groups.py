"""Scores of parts of a set: by the size of what is shown, and by the brightness of the image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snowmelt.evaluation.class_scores import mean_of, scores_of_counts

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
SIZES = {"small": 0.01, "medium": 0.1, "large": 1.0}
"""Largest share of an image's labelled pixels that a class takes in it. The cuts are fixed, so that two runs and two
data sets can be compared; thirds of the data would move with them."""
BRIGHTNESSES = ("dark", "middle", "bright")


@dataclass(frozen=True)
class ImageCounts:
    """Pixels of each class in each image, (I, C) integers each: right ones, predicted ones, true ones."""

    hits: np.ndarray
    predicted: np.ndarray
    truth: np.ndarray

    @classmethod
    def of(cls, table: np.ndarray) -> ImageCounts:
        """From (I, 3, C), as ``counts_of_matrices`` stacks them."""
        return cls(table[:, 0], table[:, 1], table[:, 2])

    def miou_by_image(self) -> np.ndarray:
        """(I,) float64: mean IoU over the classes that are in an image's truth or prediction; NaN without labels."""
        iou = scores_of_counts(self.hits, self.predicted, self.truth).iou
        there = ~np.isnan(iou)
        total = np.where(there, iou, 0.0).sum(1)
        return np.divide(total, there.sum(1), out=np.full(len(iou), np.nan), where=there.any(1))


@dataclass(frozen=True)
class Group:
    """A part of a set.

    Attributes:
        low, high: range of what it was formed by, both ends included for brightness; sizes lie above ``low``, up to
            ``high``.
        members: (I,) bool: its images; or (I, C) bool: its class regions.
    """

    name: str
    low: float
    high: float
    members: np.ndarray

    @property
    def count(self) -> int:
        return int(self.members.sum())

    def miou(self, counts: ImageCounts) -> float:
        """Mean IoU over the classes that are there, each from the sums over the members; NaN where there are none."""
        chosen = self.members if self.members.ndim == 2 else self.members[:, None]
        sums = [
            np.where(chosen, each, 0).sum(0, dtype=np.int64) for each in (counts.hits, counts.predicted, counts.truth)
        ]
        return mean_of(scores_of_counts(*sums).iou)


def counts_of_matrices(matrices: Tensor) -> Tensor:
    """(B, 3, C) int32 right, predicted and true pixels, from the confusion matrices (B, C, C) of images."""
    return torch.stack([matrices.diagonal(dim1=1, dim2=2), matrices.sum(1), matrices.sum(2)], dim=1).int()


def brightness_of(images: Tensor, valid: Tensor) -> Tensor:
    """(B,) float32: mean luma, 0 to 255, of uint8 images (B, 3, H, W) where ``valid`` (B, H, W); NaN where nowhere."""
    weights = torch.tensor(LUMA, device=images.device)
    luma = (images.float() * weights[:, None, None]).sum(1)
    return (luma * valid).sum((1, 2)) / valid.sum((1, 2))


def by_brightness(brightness: np.ndarray) -> list[Group]:
    """Thirds of the images from the darkest to the brightest; fewer where there are fewer than three images.

    Images without labelled pixels (NaN) are in none.
    """
    order = [index for index in np.argsort(brightness, kind="stable") if not np.isnan(brightness[index])]
    groups = []
    for name, part in zip(BRIGHTNESSES, np.array_split(np.array(order, dtype=int), len(BRIGHTNESSES)), strict=True):
        if len(part):
            members = np.zeros(len(brightness), dtype=bool)
            members[part] = True
            groups.append(Group(name, float(brightness[part[0]]), float(brightness[part[-1]]), members))
    return groups


def by_size(truth: np.ndarray) -> list[Group]:
    """Class regions by the share of their image's labelled pixels; the background, class 0, is in none.

    A region is all that an image shows of a class. In the score of a group, an image counts for a class only if its
    region of the class is in the group.

    Args:
        truth: (I, C) true pixels.
    """
    labelled = truth.sum(1, keepdims=True)
    share = np.divide(truth, labelled, out=np.zeros(truth.shape), where=labelled > 0)
    share[:, 0] = 0.0
    groups, low = [], 0.0
    for name, high in SIZES.items():
        groups.append(Group(name, low, high, (share > low) & (share <= high)))
        low = high
    return groups
