"""A folder of pictures beside a folder of masks, matched by stem."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import overload

from snowmelt.data.checking import examine_all
from snowmelt.data.file_memory import FileMemory
from snowmelt.data.images import IMAGE_SUFFIXES, read_image, read_reduced
from snowmelt.data.labels import LabelMap, LabelsFound, check_classes, infer_label_map, read_classes
from snowmelt.data.picture_files import FolderFiles, picture_files
from snowmelt.data.samples import Sample
from snowmelt.errors import SnowmeltError

SPLITS = ("train", "val", "test")
_CLASSES_FILE = "classes.txt"


class FolderSource:
    """Pairs of picture and mask files that share one meaning of labels.

    Args:
        pairs: picture and mask.
        memory: what is known about the files; with none every check reads all of them.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        labels: LabelMap,
        where: Path,
        memory: FileMemory | None = None,
    ) -> None:
        self.pairs = pairs
        self.labels = labels
        self.where = where
        self.classes = labels.classes
        self._memory = memory or FileMemory(None)

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        mask = self.labels.read(mask_path)
        check_same_size(image_path, image.shape[:2], mask_path, mask.shape)
        return Sample(image, mask, image_path.name)

    def load_reduced(self, index: int, long_side: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image, shape = read_reduced(image_path, long_side)
        mask = self.labels.read(mask_path)
        check_same_size(image_path, shape, mask_path, mask.shape)
        return Sample(image, mask, image_path.name)

    def name(self, index: int) -> str:
        return self.pairs[index][0].name

    def digest(self, index: int) -> str:
        return self._memory.digest(self.pairs[index][0])

    def mask_digest(self, index: int) -> str:
        """Of the mask's file and of what its labels mean."""
        return f"{self._memory.digest(self.pairs[index][1])}{int(self.labels.white_is_foreground)}"

    def check(self) -> None:
        """A file that has not changed since it was found good is not read again."""
        try:
            examine_all(self._check_item, len(self), self.name)
        finally:
            self._memory.save()

    def _check_item(self, index: int) -> None:
        image_path, mask_path = self.pairs[index]
        size = self._memory.picture_size(image_path)
        mask = self._memory.mask(mask_path)
        if self.labels.unknown(mask.labels):
            self.labels.read(mask_path)  # raises
        check_same_size(image_path, size, mask_path, (mask.height, mask.width))

    def describe(self) -> str:
        return f"{len(self)} images of {self.where}, classes {', '.join(self.classes)}"


def check_same_size(image_path: Path, image: tuple[int, ...], mask_path: Path, mask: tuple[int, ...]) -> None:
    """Raises ``SnowmeltError`` where (height, width) of picture and mask differ.

    A mask drawn on the sensor's orientation of an EXIF-rotated picture ends here too, unless it is square.
    """
    if image != mask:
        raise SnowmeltError(
            f"{mask_path}: the mask is {mask[1]} x {mask[0]} pixels, but {image_path} (upright, after its EXIF "
            f"orientation) is {image[1]} x {image[0]}; save the mask at the size of the picture as it is shown",
            code="mask-size",
        )


def open_folder(
    root: Path,
    *,
    image_folder: str = "images",
    mask_folder: str = "masks",
    classes: tuple[str, ...] | None = None,
    default_classes: tuple[str, ...] | None = None,
    index_folder: Path | None = None,
) -> dict[str, FolderSource]:
    """The sources of a data folder by split; a folder without splits gives one, ``"train"``.

    Layouts: ``root/images``, ``root/train/images`` or ``root/images/train``, masks likewise. Class names come from
    ``classes``, else from the nearest ``classes.txt`` (mask folder first, then upwards to ``root``), else from
    ``default_classes``, else from the labels in the masks of all splits together. ``index_folder``: where it is kept
    what was found in each file, so that no unchanged file is read a second time.

    Raises ``SnowmeltError``: no such layout, no images, images without mask, two files with one stem.
    """
    folders = find_splits(root, image_folder, mask_folder)
    pairs = {split: pair_files(images, masks) for split, (images, masks) in folders.items()}
    names = names_for(root, [masks for _, masks in folders.values()], classes) or default_classes
    memory = FileMemory(index_folder)
    if names is not None and len(names) > 2:
        labels = LabelMap(names)  # no need to look into the masks: 255 can only mean ignored
    else:
        splits = list(pairs.values())
        labels = infer_label_map(_find_labels(splits, memory), names, root, lambda index: _mask_at(splits, index))
    return {split: FolderSource(pairs[split], labels, folders[split][0], memory) for split in pairs}


def names_for(root: Path, mask_folders: list[Path], classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Class names as given, else those of the nearest ``classes.txt``, else none; see ``open_folder``."""
    given = classes and check_classes(tuple(classes), "classes")
    return given or _classes_file(root, mask_folders)


def _find_labels(splits: Sequence[Sequence[tuple[Path, Path]]], memory: FileMemory) -> list[LabelsFound]:
    """What each mask of all splits holds."""

    def labels(index: int) -> LabelsFound:
        return memory.mask(_mask_at(splits, index)).labels

    try:
        return examine_all(labels, sum(map(len, splits)), lambda index: str(_mask_at(splits, index)))
    finally:
        memory.save()


def _mask_at(splits: Sequence[Sequence[tuple[Path, Path]]], index: int) -> Path:
    """The mask file of this position among all splits behind one another."""
    starts = [0, *accumulate(len(split) for split in splits)]
    split = bisect_right(starts, index) - 1
    return splits[split][index - starts[split]][1]


def find_splits(root: Path, image_folder: str, mask_folder: str) -> dict[str, tuple[Path, Path]]:
    """(image folder, mask folder) by split, for the three layouts that ``open_folder`` knows."""
    outer = {split: (root / split / image_folder, root / split / mask_folder) for split in SPLITS}
    inner = {split: (root / image_folder / split, root / mask_folder / split) for split in SPLITS}
    outer = {split: pair for split, pair in outer.items() if pair[0].is_dir()}
    inner = {split: pair for split, pair in inner.items() if pair[0].is_dir()}
    if outer and inner:
        raise SnowmeltError(
            f"{root}: both {next(iter(outer.values()))[0]} and {next(iter(inner.values()))[0]} exist; keep one layout",
            code="data-layout-ambiguous",
        )
    found = outer or inner
    if not found and (root / image_folder).is_dir():
        return {"train": (root / image_folder, root / mask_folder)}
    if not found:
        raise SnowmeltError(
            f"{root}: holds neither {image_folder}/ nor train/{image_folder}/ nor {image_folder}/train/; put the "
            "pictures there or set data.image_folder and data.mask_folder",
            code="data-layout-unknown" if root.is_dir() else "data-folder-missing",
        )
    return found


class FilePairs(Sequence[tuple[Path, Path]]):
    """Pictures of one folder and masks of another. Only names are kept; paths are made when they are asked for."""

    def __init__(self, images: FolderFiles, masks: FolderFiles) -> None:
        self.images = images
        self.masks = masks

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> tuple[Path, Path]: ...
    @overload
    def __getitem__(self, index: slice) -> FilePairs: ...
    def __getitem__(self, index: int | slice) -> tuple[Path, Path] | FilePairs:
        if isinstance(index, slice):
            return FilePairs(self.images[index], self.masks[index])
        return self.images[index], self.masks[index]


@dataclass(frozen=True)
class Matches:
    """Pictures and masks of two folders by stem: what belongs together, and what stands alone."""

    image_folder: Path
    mask_folder: Path
    images: dict[str, tuple[str, ...]]  # names by stem; more than one is a mistake
    masks: dict[str, tuple[str, ...]]

    @property
    def without_mask(self) -> list[str]:
        """Names of images that no mask belongs to."""
        return [names[0] for stem, names in self.images.items() if stem not in self.masks]

    @property
    def without_image(self) -> list[str]:
        """Names of masks that belong to no image; training passes them over."""
        return [name for stem, names in self.masks.items() if stem not in self.images for name in names]

    @property
    def twins(self) -> list[tuple[Path, str, str]]:
        """Folder and two names that share one stem, so that image and mask cannot be matched."""
        found = []
        for stem, names in self.images.items():
            for folder, same in ((self.image_folder, names), (self.mask_folder, self.masks.get(stem, ()))):
                if len(same) > 1:
                    found.append((folder, same[0], same[1]))
        return found


def match_files(image_folder: Path, mask_folder: Path) -> Matches:
    """What the two folders hold, by stem in the order of names. Sub-folders and hidden files are passed over.

    Raises ``SnowmeltError``: no folder of masks, no images.
    """
    if not mask_folder.is_dir():
        others = _folders_beside(image_folder, mask_folder)
        raise SnowmeltError(
            f"{mask_folder}: no such folder for the masks; put them there or set data.mask_folder"
            + (f" (there is {', '.join(others)})" if others else ""),
            code="data-folder-missing",
        )
    found = Matches(image_folder, mask_folder, _by_stem(image_folder), _by_stem(mask_folder))
    if not found.images:
        raise SnowmeltError(
            f"{image_folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}; sub-folders do not count)",
            code="data-no-images",
        )
    return found


def _folders_beside(image_folder: Path, mask_folder: Path) -> list[str]:
    """Names that the folder of masks might have, where its own is not there: neighbours with pictures in them."""
    inner = mask_folder.name in SPLITS and image_folder.name == mask_folder.name  # images/train beside masks/train
    root, images = (mask_folder.parent.parent, image_folder.parent) if inner else (mask_folder.parent, image_folder)
    neighbours = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    return [
        path.name
        for path in neighbours
        if path != images
        and any(each.is_dir() and len(picture_files(each)) for each in (path, *(path / split for split in SPLITS)))
    ]


def pair_files(image_folder: Path, mask_folder: Path) -> FilePairs:
    """Picture and mask of every stem, sorted by name. Raises ``SnowmeltError`` unless every image has its one mask."""
    found = match_files(image_folder, mask_folder)
    for folder, first, second in found.twins:
        raise SnowmeltError(
            f"{folder}: {first} and {second} share one stem, so image and mask cannot be matched; rename or remove one",
            code="data-same-stem",
        )
    missing = found.without_mask
    if missing:
        shown = ", ".join(str(image_folder / name) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise SnowmeltError(
            f"{shown}: {len(missing)} of {len(found.images)} images have no mask of the same stem in {mask_folder}; "
            "add the masks or remove the images",
            code="mask-missing",
        )
    return FilePairs(
        FolderFiles(image_folder, [names[0] for names in found.images.values()]),
        FolderFiles(mask_folder, [found.masks[stem][0] for stem in found.images]),
    )


def _by_stem(folder: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name in picture_files(folder).names:
        stem = os.path.splitext(name)[0]
        found[stem] = (*found.get(stem, ()), name)
    return found


def _classes_file(root: Path, mask_folders: list[Path]) -> tuple[str, ...] | None:
    """Names of the nearest ``classes.txt`` of every split; different ones are an error."""
    chosen: dict[Path, tuple[str, ...]] = {}
    for folder in mask_folders:
        levels = [folder, *(parent for parent in folder.parents if parent == root or root in parent.parents)]
        path = next((level / _CLASSES_FILE for level in levels if (level / _CLASSES_FILE).is_file()), None)
        if path is not None:
            chosen[path] = read_classes(path)
    if len(set(chosen.values())) > 1:
        first, second = list(chosen)[:2]
        raise SnowmeltError(
            f"{first} and {second} name different classes; the splits must share one list", code="data-classes-differ"
        )
    return next(iter(chosen.values()), None)
