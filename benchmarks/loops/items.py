"""Training items as most loops make them: every picture decoded and its regions rasterised each time it comes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from faster_coco_eval import COCO
from PIL import Image
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from loops.losses import IGNORE
from snowmelt.data import open_splits

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BYTE_FILL = {tv_tensors.Image: (124, 116, 104), tv_tensors.Mask: IGNORE}
_FLOAT_FILL = {tv_tensors.Image: MEAN, tv_tensors.Mask: IGNORE}


def in_float(size: int) -> v2.Transform:
    """Flip, scale 0.75 to 1.5, crop and colour as Snowmelt's ``light``, on float pictures; normalised."""
    first = [v2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True)]
    return v2.Compose([*first, *_changes(size, _FLOAT_FILL), v2.Normalize(MEAN, STD)])


def in_bytes(size: int) -> v2.Transform:
    """The same on uint8 pictures, which stay so until they are on the device."""
    return v2.Compose(_changes(size, _BYTE_FILL))


def _changes(size: int, fill: Any) -> list[v2.Transform]:
    return [
        v2.RandomHorizontalFlip(),
        v2.ScaleJitter((size, size), (0.75, 1.5), antialias=True),
        v2.RandomCrop((size, size), pad_if_needed=True, fill=fill),
        v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02),
    ]


class Items(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pictures (3, N, N) and masks (N, N) uint8 of a COCO file or of what else Snowmelt can read."""

    def __init__(self, spec: str, transform: v2.Transform, size: int) -> None:
        self.transform = transform
        kind, _, rest = spec.partition(":")
        self.pictures = _CocoPictures(*rest.split(":")) if kind == "coco" else _OtherPictures(spec, size)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.pictures[index]
        changed = self.transform(tv_tensors.Image(torch.from_numpy(image).permute(2, 0, 1)), tv_tensors.Mask(mask))
        return tuple(part.as_subclass(torch.Tensor) for part in changed)  # type: ignore[return-value]


class _CocoPictures:
    """As ``pycocotools`` is used everywhere, through a package with the same interface."""

    def __init__(self, folder: str, annotations: str, categories: str = "") -> None:
        self.folder = Path(folder)
        self.coco = COCO(annotations)
        names = [name for name in categories.split(",") if name]
        chosen = [self.coco.getCatIds(catNms=[name])[0] for name in names] or sorted(self.coco.getCatIds())
        self.labels = {category: position + 1 for position, category in enumerate(chosen)}
        self.images = sorted(self.coco.getImgIds())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        record = self.coco.loadImgs(self.images[index])[0]
        with Image.open(self.folder / record["file_name"]) as picture:
            image = np.array(picture.convert("RGB"))
        mask = np.zeros(image.shape[:2], np.uint8)
        for annotation in self.coco.loadAnns(self.coco.getAnnIds(imgIds=[self.images[index]])):
            label = self.labels.get(annotation["category_id"])
            if label is not None:
                mask[self.coco.annToMask(annotation) > 0] = label
        return image, mask


class _OtherPictures:
    """Folders, which hold masks as pictures: there is nothing to rasterise."""

    def __init__(self, spec: str, size: int) -> None:
        self.source = open_splits(spec, image_size=size).train

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        sample = self.source.load(index)
        return sample.image, sample.mask
