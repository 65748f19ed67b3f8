"""What there is to look at: the pictures of one split with their masks, whether training would take them or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from snowmelt.data.coco import CocoSource
from snowmelt.data.folders import Matches, check_same_size
from snowmelt.data.images import read_image, read_labels, read_reduced
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.unlabelled import UnlabelledSource

Labels = tuple[np.ndarray, bool]
"""(H, W) raw labels, and whether their file holds one bit a pixel; see ``read_labels``."""


class Part(Protocol):
    """Pictures of one split, and what each one's mask file holds, item by item."""

    split: str
    group: int
    """Parts of one group share the meaning of their labels."""
    checks_classes: bool
    """Whether masks hold raw values whose meaning is yet to be found, and not class ids."""

    @property
    def names(self) -> Sequence[str]:
        """By which images are split; see ``chosen_by_name``."""
        ...

    def __len__(self) -> int: ...

    def image_path(self, index: int) -> str: ...

    def mask_path(self, index: int) -> str:
        """What a line about the mask names; empty where there is none."""
        ...

    def picture(self, index: int, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        """As ``read_reduced``; with None the whole picture. Raises ``SnowmeltError`` where it cannot be read."""
        ...

    def labels(self, index: int) -> Labels | None:
        """None where there is no mask. Raises ``SnowmeltError`` where it cannot be read."""
        ...

    def stated(self, index: int) -> tuple[int, int] | None:
        """(height, width) at which a mask would be made where a file only states it; None where a mask has its own."""
        ...

    def compare(self, index: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        """Raises ``SnowmeltError`` where the two sizes, (height, width), do not belong together."""
        ...


def _read(path: Path, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
    if long_side is not None:
        return read_reduced(path, long_side)
    image = read_image(path)
    return image, (int(image.shape[0]), int(image.shape[1]))


class FolderPart:
    """Every picture of a folder, with the mask of its stem where there is one."""

    checks_classes = True

    def __init__(self, split: str, matches: Matches) -> None:
        self.split, self.group = split, 0
        self.matches = matches
        self.names: Sequence[str] = [names[0] for names in matches.images.values()]
        self._masks = [matches.masks.get(stem, ("",))[0] for stem in matches.images]

    def __len__(self) -> int:
        return len(self.names)

    def image_path(self, index: int) -> str:
        return str(self.matches.image_folder / self.names[index])

    def mask_path(self, index: int) -> str:
        return str(self.matches.mask_folder / self._masks[index]) if self._masks[index] else ""

    def picture(self, index: int, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        return _read(Path(self.image_path(index)), long_side)

    def labels(self, index: int) -> Labels | None:
        path = self.mask_path(index)
        return read_labels(Path(path)) if path else None

    def stated(self, index: int) -> tuple[int, int] | None:
        return None

    def compare(self, index: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        check_same_size(Path(self.image_path(index)), image, Path(self.mask_path(index)), mask)


class CocoPart:
    """The pictures that a COCO file lists; masks are made from its regions."""

    checks_classes = False

    def __init__(self, split: str, source: CocoSource) -> None:
        self.split, self.group = split, 0
        self.source = source
        self.names: Sequence[str] = [source.name(index) for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> str:
        return str(self.source.path(index))

    def mask_path(self, index: int) -> str:
        return f"{self.source.json_path}: {self.names[index]}"

    def picture(self, index: int, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        return _read(self.source.path(index), long_side)

    def labels(self, index: int) -> Labels | None:
        return self.source.mask(index), False

    def stated(self, index: int) -> tuple[int, int] | None:
        return self.source.table.size(index)

    def compare(self, index: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        self.source.check_same_size(index, image)


class ScenesPart:
    """Embedded scenes, drawn when they are asked for."""

    checks_classes = False

    def __init__(self, split: str, source: ScenesSource) -> None:
        self.split, self.group = split, 0
        self.source = source
        self._drawn: dict[int, np.ndarray] = {}  # masks of pictures that were asked for just before
        self.names: Sequence[str] = [source.name(index) for index in range(len(source))]

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> str:
        return self.names[index]

    def mask_path(self, index: int) -> str:
        return self.names[index]

    def picture(self, index: int, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        scene = self.source.load(index)
        image = scene.image
        self._drawn[index] = scene.mask
        return image, (int(image.shape[0]), int(image.shape[1]))

    def labels(self, index: int) -> Labels | None:
        mask = self._drawn.pop(index, None)
        return self.source.load(index).mask if mask is None else mask, False

    def stated(self, index: int) -> tuple[int, int] | None:
        return None

    def compare(self, index: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        pass


class UnlabelledPart:
    """Pictures without masks that join training (``data.unlabelled``)."""

    checks_classes = False

    def __init__(self, source: UnlabelledSource) -> None:
        self.split, self.group = "unlabelled", 0
        self.source = source
        self.names: Sequence[str] = source.files.names

    def __len__(self) -> int:
        return len(self.source)

    def image_path(self, index: int) -> str:
        return str(self.source.files[index])

    def mask_path(self, index: int) -> str:
        return ""

    def picture(self, index: int, long_side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
        return _read(self.source.files[index], long_side)

    def labels(self, index: int) -> Labels | None:
        return None

    def stated(self, index: int) -> tuple[int, int] | None:
        return None

    def compare(self, index: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        pass
