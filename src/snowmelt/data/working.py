"""Working pictures: what items are cut from, with no more pixels than the largest item of it can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from snowmelt.data.geometry import Shape, fitted_size
from snowmelt.data.samples import Sample, Source, StorableSource


@dataclass(frozen=True)
class Working:
    """``image``: (H, W, 3) uint8 RGB, ``mask``: (H, W) uint8; ``origin``: (height, width) of the picture in its file.

    Both arrays may be read-only.
    """

    image: np.ndarray
    mask: np.ndarray
    origin: Shape


@runtime_checkable
class WorkingSource(Protocol):
    """A source that has working pictures, or knows who has them."""

    def working(self, index: int, side: int, exact: bool) -> Working: ...


def load_working(source: Source, index: int, side: int, exact: bool = False) -> Working:
    """A picture of ``source``, its long side at most ``side``.

    Where the source knows how, a large JPEG is decoded at a fraction of its size, though never below ``side``; not if
    it is to be ``exact``: the whole picture reduced, as scores want it.

    Raises:
        SnowmeltError: the item is unusable, as ``Source.load``.
    """
    if isinstance(source, WorkingSource):
        return source.working(index, side, exact)
    if isinstance(source, StorableSource) and not exact:
        return reduce(source.load_reduced(index, side), side)
    return reduce(source.load(index), side)


def reduce(sample: Sample, side: int) -> Working:
    """The sample with a long side of at most ``side`` pixels; a smaller one stays as it is."""
    origin = (int(sample.mask.shape[0]), int(sample.mask.shape[1]))
    if max(origin) <= side:
        return Working(sample.image, sample.mask, origin)
    shape = fitted_size(*origin, side)
    image = resize_image(torch.from_numpy(sample.image).permute(2, 0, 1), shape)
    mask = resize_mask(torch.from_numpy(sample.mask), shape)
    return Working(np.ascontiguousarray(image.permute(1, 2, 0).numpy()), mask.numpy(), origin)


def resize_image(image: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(3, H, W) uint8 resized to (3, *shape), bilinear, antialiased."""
    if tuple(image.shape[-2:]) == shape:
        return image
    return F.resize_image(image, list(shape), interpolation=InterpolationMode.BILINEAR, antialias=True)


def resize_mask(mask: torch.Tensor, shape: Shape) -> torch.Tensor:
    """(H, W) uint8 read at the pixel centres of ``shape``.

    Torch's plain nearest takes the corner of each cell, which shifts masks against pictures by up to half a pixel.
    """
    return F.resize_image(mask[None], list(shape), interpolation=InterpolationMode.NEAREST_EXACT)[0]
