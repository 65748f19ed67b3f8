"""What the terms of an effective batch are divided by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch


class Counts(NamedTuple):
    """Pixels and images that count, with a label and without; each a () int64 tensor on the batch's device.

    The names are those of the objective's divisors. Padding and a filler (a picture with nothing but ignored pixels)
    count nowhere; a picture with an unlabelled pixel is an unlabelled image.
    """

    pixels: Tensor  # with a label
    images: Tensor  # with labels
    taught_pixels: Tensor  # the unlabelled ones too
    taught_images: Tensor


def count(batch: Batch) -> Counts:
    """The counts of one batch."""
    taught = batch.masks != IGNORE_INDEX
    unlabelled = batch.masks == UNLABELLED
    real = taught.flatten(1).any(dim=1) & (batch.indices >= 0)
    whole = real & ~unlabelled.flatten(1).any(dim=1)
    pixels = taught.sum()
    return Counts(pixels - unlabelled.sum(), whole.sum(), pixels, real.sum())


def labels_of(batch: Batch) -> Tensor:
    """(B, N, N) uint8 class ids for scores: unlabelled pixels are ignored too."""
    return torch.where(batch.masks == UNLABELLED, torch.full_like(batch.masks, IGNORE_INDEX), batch.masks)
