"""What the data room hands out: one sample, one batch, and the contracts of a source and of a store of maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from snowmelt.data.colour import apply_colour

IGNORE_INDEX = 255
"""Mask value that no loss and no score counts: ignored by the label, crowd or padding."""

UNLABELLED = 254
"""Mask value of a real pixel whose class nobody told: it can be distilled on, but neither learned nor scored."""


@dataclass(frozen=True)
class Sample:
    """One picture as it lies on disk, before any resizing.

    ``image``: (H, W, 3) uint8 RGB. ``mask``: (H, W) uint8 class indices from 0 to 253, ``IGNORE_INDEX`` where a pixel
    is to count for nothing, ``UNLABELLED`` all over where the picture has no mask.
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
    maps: tuple[torch.Tensor, ...] = ()
    """What a ``MapStore`` holds about each image, plane by plane, each (B, ...); none without a store."""
    placement: torch.Tensor | None = None
    """(B, 2, 3) float32 for ``affine_grid(placement, (B, C, N, N), align_corners=False)``: from the normalised points
    of each augmented picture to those of the square that its stored map covers."""
    colour: torch.Tensor | None = None
    """(B, 3, 4) float32, what ``coloured`` has yet to do to each image; none where there is nothing to do."""

    def __len__(self) -> int:
        return self.images.shape[0]

    def __getitem__(self, rows: slice) -> Batch:
        """A micro-batch: the given rows of every tensor, as views."""
        return self._each(lambda tensor: tensor[rows])

    def pin_memory(self) -> Batch:
        """The hook that a ``DataLoader`` with ``pin_memory=True`` looks for."""
        return self._each(lambda tensor: tensor.pin_memory())

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def tensors(self) -> list[torch.Tensor]:
        """All that it holds."""
        optional = [tensor for tensor in (self.placement, self.colour) if tensor is not None]
        return [self.images, self.masks, self.indices, *self.maps, *optional]

    def coloured(self) -> Batch:
        """The batch with its images' random colours applied, on the device where it is; uint8 as before.

        A batch that has none, or whose colours were applied already, comes back as it is.
        """
        if self.colour is None:
            return self
        return replace(self, images=apply_colour(self.images, self.colour), colour=None)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        return Batch(
            change(self.images),
            change(self.masks),
            change(self.indices),
            tuple(change(plane) for plane in self.maps),
            None if self.placement is None else change(self.placement),
            None if self.colour is None else change(self.colour),
        )


class MapStore(Protocol):
    """What a teacher answered about each picture of a source. Must survive pickling, for data-loader workers."""

    @property
    def size(self) -> int:
        """Side in pixels of the square that a map covers. The picture lies at its top left, resized to
        ``fitted_size(H, W, size)``; the rest is padding."""
        ...

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        """The planes about picture ``index``: shapes and dtypes the same for all, writable memory of their own."""
        ...


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

    def digest(self, index: int) -> str:
        """Hexadecimal, the same for the same image content wherever it lies and whatever its mask.

        Raises ``SnowmeltError`` naming a file that cannot be read.
        """
        ...

    def check(self) -> None:
        """Read every item once, so that a bad file stops the run before training and not in its third hour.

        Raises ``SnowmeltError`` that names the first bad file and counts the others.
        """
        ...

    def describe(self) -> str:
        """One line for the log: how many images, from where, which classes."""
        ...


@runtime_checkable
class StorableSource(Source, Protocol):
    """A source whose working pictures can be kept (see ``store``), and read at a fraction of the cost (``working``)."""

    def load_reduced(self, index: int, long_side: int) -> Sample:
        """As ``load``, but the image may come smaller than the mask, never smaller than ``long_side`` allows.

        That is, no smaller than ``fitted_size(*mask.shape, long_side)``; the mask always has the picture's own size.
        """
        ...

    def mask_digest(self, index: int) -> str:
        """Hexadecimal, another one whenever the mask is; found without making the mask."""
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

    def digest(self, index: int) -> str:
        return self.source.digest(self.indices[index])

    def load_reduced(self, index: int, long_side: int) -> Sample:
        """As the parent's, which must be a ``StorableSource``; so for ``mask_digest``."""
        return self.source.load_reduced(self.indices[index], long_side)  # type: ignore[attr-defined]

    def mask_digest(self, index: int) -> str:
        return self.source.mask_digest(self.indices[index])  # type: ignore[attr-defined]

    def check(self) -> None:
        """Checks the whole parent, because the two halves of a split belong to one data set."""
        self.source.check()

    def describe(self) -> str:
        return f"{len(self)} chosen from {self.source.describe()}"
