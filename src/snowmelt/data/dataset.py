"""Map-style datasets: a source seen through a transform, item by item, the same for any number of workers."""

from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from snowmelt.data.randomness import seeded
from snowmelt.data.samples import IGNORE_INDEX, Batch, Source
from snowmelt.data.transforms import Augmentation
from snowmelt.errors import SnowmeltError

Item = tuple[torch.Tensor, torch.Tensor, int]  # (3, N, N) uint8, (N, N) uint8, index in the source
Key = tuple[int, int]  # (epoch, index); index -1 - i is a filler, see AugmentedDataset

_GEOMETRY, _COLOUR = 0, 1  # one stream of random numbers for each part, so that either can be replayed alone


class AugmentedDataset(Dataset[Item]):
    """Training items by key ``(epoch, index)``.

    The augmentation is a function of (seed, epoch, index), and no generator outside is touched. A key
    ``(epoch, -1 - i)`` is a *filler*: image i with nothing but ``IGNORE_INDEX`` in its mask, for a process that
    would otherwise have no image in a step.
    """

    def __init__(self, source: Source, transform: Augmentation, seed: int) -> None:
        if seed < 0:
            raise SnowmeltError(f"seed {seed}: it must not be negative")
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: Key) -> Item:
        epoch, index = key
        filler = index < 0
        index = -1 - index if filler else index
        sample = self.source.load(index)
        image, mask = as_tv_tensors(sample.image, sample.mask)
        with seeded(self.seed, epoch, index, _GEOMETRY):
            image, mask = self.transform.geometric(image, mask)
        with seeded(self.seed, epoch, index, _COLOUR):
            image = self.transform.colour(image)
        if filler:
            mask = torch.full_like(mask, IGNORE_INDEX)
        return _plain(image), _plain(mask), index


class EvaluationDataset(Dataset[Item]):
    """Items by plain index, through a transform without randomness."""

    def __init__(self, source: Source, transform: Augmentation) -> None:
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        sample = self.source.load(index)
        image, mask = self.transform(*as_tv_tensors(sample.image, sample.mask))
        return _plain(image), _plain(mask), index


def as_tv_tensors(image: np.ndarray, mask: np.ndarray) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """(H, W, 3) and (H, W) arrays as ``Image`` (3, H, W) and ``Mask`` (H, W), sharing memory."""
    return tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(torch.from_numpy(mask))


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.as_subclass(torch.Tensor).contiguous()


def collate(items: list[Item]) -> Batch:
    images, masks, indices = zip(*items, strict=True)
    return Batch(torch.stack(images), torch.stack(masks), torch.tensor(indices, dtype=torch.int64))
