"""Map-style datasets: a source seen through a transform, item by item, the same for any number of workers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.utils.data import Dataset

from snowmelt.data.placement import Placed
from snowmelt.data.randomness import COLOUR, GEOMETRY, TEXTURE, generator
from snowmelt.data.samples import IGNORE_INDEX, Batch, MapStore, Source
from snowmelt.data.transforms import Augmentation, Letterbox
from snowmelt.data.working import load_working
from snowmelt.errors import SnowmeltError

Key = tuple[int, int]  # (epoch, index); index -1 - i is a filler, see AugmentedDataset


class Item(NamedTuple):
    """``image``: (3, N, N) uint8, ``mask``: (N, N) uint8, ``position``: in the source; the rest as in ``Batch``."""

    image: torch.Tensor
    mask: torch.Tensor
    position: int
    planes: tuple[torch.Tensor, ...] = ()
    theta: torch.Tensor | None = None
    colour: torch.Tensor | None = None


class AugmentedDataset(Dataset[Item]):
    """Training items by key ``(epoch, index)``; their colours are drawn, and applied by ``Batch.coloured``.

    The augmentation is a function of (seed, epoch, index), and no generator outside is touched. A key
    ``(epoch, -1 - i)`` is a *filler*: image i with nothing but ``IGNORE_INDEX`` in its mask, for a process that
    would otherwise have no image in a step.

    With ``maps`` every item brings the planes stored about its image, as they are, and the placement that finds them
    (see ``Batch``); picture and mask stay the same to the bit.
    """

    def __init__(
        self,
        source: Source,
        transform: Augmentation,
        seed: int,
        maps: MapStore | None = None,
    ) -> None:
        if seed < 0:
            raise SnowmeltError(f"seed {seed}: it must not be negative", code="settings-value")
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
        number = (self.seed, epoch, index)
        working = load_working(self.source, index, self.transform.working_side)
        placed = self.transform.place(working, generator(*number, GEOMETRY))
        image = self.transform.texture(placed.image, generator(*number, TEXTURE))
        mask = torch.full_like(placed.mask, IGNORE_INDEX) if filler else placed.mask
        colour = self.transform.colour(generator(*number, COLOUR))
        return _item(image, mask, index, placed, self.maps, colour)


class EvaluationDataset(Dataset[Item]):
    """Items by plain index, letterboxed; ``maps`` as for ``AugmentedDataset``."""

    def __init__(self, source: Source, transform: Letterbox, maps: MapStore | None = None) -> None:
        self.source = source
        self.transform = transform
        self.maps = maps

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Item:
        working = load_working(self.source, index, self.transform.working_side, exact=True)
        placed = self.transform.place(working)
        return _item(placed.image, placed.mask, index, placed, self.maps, None)


def _item(
    image: torch.Tensor,
    mask: torch.Tensor,
    index: int,
    placed: Placed,
    maps: MapStore | None,
    colour: torch.Tensor | None,
) -> Item:
    if maps is None:
        return Item(image, mask, index, colour=colour)
    planes = tuple(torch.from_numpy(plane) for plane in maps.read(index))
    return Item(image, mask, index, planes, placed.placement.theta(maps.size), colour)


def collate(items: list[Item]) -> Batch:
    """One batch of items that either all come with maps or all without; so for colours."""
    return Batch(
        torch.stack([item.image for item in items]),
        torch.stack([item.mask for item in items]),
        torch.tensor([item.position for item in items], dtype=torch.int64),
        tuple(torch.stack(planes) for planes in zip(*(item.planes for item in items), strict=True)),
        _stacked([item.theta for item in items]),
        _stacked([item.colour for item in items]),
    )


def _stacked(tensors: list[torch.Tensor | None]) -> torch.Tensor | None:
    present = [tensor for tensor in tensors if tensor is not None]
    return torch.stack(present) if present else None
