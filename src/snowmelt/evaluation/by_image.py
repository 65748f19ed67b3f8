"""A confusion matrix for each image: what is needed to ask how a score would be on other images."""

from __future__ import annotations

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError


def confusion_by_image(
    predictions: Tensor, targets: Tensor, classes: int, ignore_index: int | None = None
) -> tuple[Tensor, Tensor]:
    """Counts of (true class, predicted class) image by image, without waiting for the device.

    Their sum over the images is the matrix of ``ConfusionMatrix``.

    Args:
        predictions: class indices, (B, H, W).
        targets: the same of the truth, on the same device.
        classes: number of classes C, background included.
        ignore_index: pixels whose truth has this label count nowhere.

    Returns:
        (B, C, C) int64, rows are the truth; and () int64, pixels that count but have no class on either side.

    Raises:
        SnowmeltError: shapes that differ or are no batch.
    """
    if predictions.shape != targets.shape or predictions.ndim != 3:
        raise SnowmeltError(
            f"labels of shapes {tuple(predictions.shape)} and {tuple(targets.shape)} cannot be compared image by "
            "image; give (batch, height, width) twice",
            code="array-shape",
        )
    images, cells = len(targets), classes * classes
    truth, shown = targets.reshape(images, -1).long(), predictions.reshape(images, -1).long()
    inside = (truth >= 0) & (truth < classes) & (shown >= 0) & (shown < classes)
    pair = torch.where(inside, truth * classes + shown, cells)
    ones = torch.ones_like(pair) if ignore_index is None else (truth != ignore_index).long()
    counts = torch.zeros(images, cells + 1, dtype=torch.int64, device=pair.device).scatter_add_(1, pair, ones)
    return counts[:, :cells].reshape(images, classes, classes), counts[:, cells].sum()
