"""What the data room hands out: one sample, one batch, and the contract of a source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch

IGNORE_INDEX = 255
"""Mask value that no loss and no score counts: unlabelled, crowd or padding."""


@dataclass(frozen=True)
class Sample:
    """One labelled picture as it lies on disk, before any resizing.

    ``image``: (H, W, 3) uint8 RGB. ``mask``: (H, W) uint8 class indices, ``IGNORE_INDEX`` where nothing is known.
    """

    image: np.ndarray
    mask: np.ndarray
    name: str


@dataclass(frozen=True)
class Batch:
    """Collated items of equal size; uint8 until the device, because teacher and student normalise differently."""

    images: torch.Tensor  # (B, 3, N, N) uint8
    masks: torch.Tensor  # (B, N, N) uint8, IGNORE_INDEX where padded
    indices: torch.Tensor  # (B,) int64, positions in the source

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, rows: slice) -> Batch:
        """A micro-batch: the given rows of every tensor, as views."""
        return Batch(self.images[rows], self.masks[rows], self.indices[rows])

    def pin_memory(self) -> Batch:
        """The hook that a ``DataLoader`` with ``pin_memory=True`` looks for."""
        return Batch(self.images.pin_memory(), self.masks.pin_memory(), self.indices.pin_memory())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return Batch(
            self.images.to(device, non_blocking=non_blocking),
            self.masks.to(device, non_blocking=non_blocking),
            self.indices.to(device, non_blocking=non_blocking),
        )


@runtime_checkable
class Source(Protocol):
    """A finite, ordered set of samples. Implementations must survive pickling, for data-loader workers."""

    classes: tuple[str, ...]
    """Class names; the position is the id in the mask. Background comes first."""

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Raises ``SnowmeltError`` naming the file when the item is unusable."""
        ...

    def name(self, index: int) -> str:
        """Unique within the source and steady over runs; a file name where there is a file."""
        ...

    def check(self) -> None:
        """Read every item once, so that a bad file stops the run before training and not in its third hour.

        Raises ``SnowmeltError`` that names the first bad file and counts the others.
        """
        ...

    def describe(self) -> str:
        """One line for the log: how many images, from where, which classes."""
        ...


class SubsetSource:
    """Chosen items of another source, in the order given."""

    def __init__(self, source: Source, indices: list[int]) -> None:
        self.source = source
        self.indices = list(indices)
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.indices)

    def load(self, index: int) -> Sample:
        return self.source.load(self.indices[index])

    def name(self, index: int) -> str:
        return self.source.name(self.indices[index])

    def check(self) -> None:
        """Checks the whole parent, because the two halves of a split belong to one data set."""
        self.source.check()

    def describe(self) -> str:
        return f"{len(self)} of: {self.source.describe()}"
