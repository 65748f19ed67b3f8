"""Map-style datasets: a source seen through a transform, item by item, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from snowmelt.data.geometry import Trace
from snowmelt.data.randomness import seeded
from snowmelt.data.samples import IGNORE_INDEX, Batch, MapStore, Sample, Source
from snowmelt.data.transforms import Augmentation
from snowmelt.errors import SnowmeltError

PlainItem = tuple[torch.Tensor, torch.Tensor, int]  # (3, N, N) uint8, (N, N) uint8, index in the source
MappedItem = tuple[torch.Tensor, torch.Tensor, int, tuple[torch.Tensor, ...], torch.Tensor]  # and planes, (2, 3) theta
Item = PlainItem | MappedItem  # the longer one from a data set with maps
Key = tuple[int, int]  # (epoch, index); index -1 - i is a filler, see AugmentedDataset

_GEOMETRY, _COLOUR = 0, 1  # one stream of random numbers for each part, so that either can be replayed alone


class AugmentedDataset(Dataset[Item]):
    """Training items by key ``(epoch, index)``.

    The augmentation is a function of (seed, epoch, index), and no generator outside is touched. A key
    ``(epoch, -1 - i)`` is a *filler*: image i with nothing but ``IGNORE_INDEX`` in its mask, for a process that
    would otherwise have no image in a step.

    With ``maps`` every item brings the planes stored about its image, as they are, and the placement that finds them
    (see ``Batch``); picture and mask stay the same to the bit.
    """

    def __init__(self, source: Source, transform: Augmentation, seed: int, maps: MapStore | None = None) -> None:
        if seed < 0:
            raise SnowmeltError(f"seed {seed}: it must not be negative")
        self.source = source
        self.transform = transform
        self.seed = seed
        self.maps = maps

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        filler = index < 0
        index = -1 - index if filler else index
        sample = self.source.load(index)
        with seeded(self.seed, epoch, index, _GEOMETRY):
            image, mask, *traces = self.transform.geometric(*_inputs(sample, self.maps))
        with seeded(self.seed, epoch, index, _COLOUR):
            image = self.transform.colour(image)
        if filler:
            mask = torch.full_like(mask, IGNORE_INDEX)
        return _item(image, mask, index, self.maps, traces)


class EvaluationDataset(Dataset[Item]):
    """Items by plain index, through a transform without randomness; ``maps`` as for ``AugmentedDataset``."""

    def __init__(self, source: Source, transform: Augmentation, maps: MapStore | None = None) -> None:
        self.source = source
        self.transform = transform
        self.maps = maps

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        sample = self.source.load(index)
        image, mask, *traces = self.transform.geometric(*_inputs(sample, self.maps))
        return _item(self.transform.colour(image), mask, index, self.maps, traces)


def as_tv_tensors(image: np.ndarray, mask: np.ndarray) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """(H, W, 3) and (H, W) arrays as ``Image`` (3, H, W) and ``Mask`` (H, W), sharing memory."""
    return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(mask))


def _inputs(sample: Sample, maps: MapStore | None) -> tuple[torch.Tensor, ...]:
    """Picture and mask, and a trace of their geometry where maps will be looked up by it."""
    pair = as_tv_tensors(sample.image, sample.mask)
    return pair if maps is None else (*pair, Trace.start(*sample.mask.shape))


def _item(image: torch.Tensor, mask: torch.Tensor, index: int, maps: MapStore | None, traces: list[Trace]) -> Item:
    if maps is None:
        return _plain(image), _plain(mask), index
    if traces[0].canvas != tuple(image.shape[-2:]):
        raise SnowmeltError("the geometric transform has a step that stored teacher maps cannot follow")
    planes = tuple(torch.from_numpy(plane) for plane in maps.read(index))
    return _plain(image), _plain(mask), index, planes, traces[0].theta(maps.size)


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(torch.Tensor).contiguous()


def collate(items: list[Item]) -> Batch:
    """One batch of items that either all come with maps or all without."""
    images = torch.stack([item[0] for item in items])
    masks = torch.stack([item[1] for item in items])
    indices = torch.tensor([item[2] for item in items], dtype=torch.int64)
    mapped = [(item[3], item[4]) for item in items if len(item) == 5]
    if not mapped:
        return Batch(images, masks, indices)
    planes = zip(*(planes for planes, _ in mapped), strict=True)
    placement = torch.stack([theta for _, theta in mapped])
    return Batch(images, masks, indices, tuple(torch.stack(plane) for plane in planes), placement)
