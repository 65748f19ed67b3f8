"""A folder of pictures beside a folder of masks, matched by stem."""

from __future__ import annotations

from pathlib import Path

from snowmelt.data.checking import examine_all
from snowmelt.data.digests import file_digest
from snowmelt.data.images import IMAGE_SUFFIXES, probe_image, read_image
from snowmelt.data.labels import LabelMap, check_classes, find_labels, infer_label_map, read_classes
from snowmelt.data.samples import Sample
from snowmelt.errors import SnowmeltError

SPLITS = ("train", "val", "test")
_CLASSES_FILE = "classes.txt"


class FolderSource:
    """Pairs of picture and mask files that share one meaning of labels."""

    def __init__(self, pairs: list[tuple[Path, Path]], labels: LabelMap, where: Path) -> None:
        self.pairs = pairs
        self.labels = labels
        self.where = where
        self.classes = labels.classes

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image_path, mask_path = self.pairs[index]
        image = read_image(image_path)
        mask = self.labels.read(mask_path)
        _same_size(image_path, image.shape[:2], mask_path, mask.shape)
        return Sample(image, mask, image_path.name)

    def name(self, index: int) -> str:
        return self.pairs[index][0].name

    def digest(self, index: int) -> str:
        return file_digest(self.pairs[index][0])

    def check(self) -> None:
        examine_all(self._check_item, len(self))

    def _check_item(self, index: int) -> None:
        image_path, mask_path = self.pairs[index]
        size = probe_image(image_path)
        _same_size(image_path, size, mask_path, self.labels.read(mask_path).shape)

    def describe(self) -> str:
        return f"{len(self)} images of {self.where}, classes {', '.join(self.classes)}"


def _same_size(image_path: Path, image: tuple[int, ...], mask_path: Path, mask: tuple[int, ...]) -> None:
    """A mask drawn on the sensor's orientation of an EXIF-rotated picture ends here too, unless it is square."""
    if image != mask:
        raise SnowmeltError(
            f"{mask_path}: the mask is {mask[1]} x {mask[0]} pixels, but {image_path} (upright, after its EXIF "
            f"orientation) is {image[1]} x {image[0]}; save the mask at the size of the picture as it is shown"
        )


def open_folder(
    root: Path,
    *,
    image_folder: str = "images",
    mask_folder: str = "masks",
    classes: tuple[str, ...] | None = None,
    default_classes: tuple[str, ...] | None = None,
) -> dict[str, FolderSource]:
    """The sources of a data folder by split; a folder without splits gives one, ``"train"``.

    Layouts: ``root/images``, ``root/train/images`` or ``root/images/train``, masks likewise. Class names come from
    ``classes``, else from the nearest ``classes.txt`` (mask folder first, then upwards to ``root``), else from
    ``default_classes``, else from the labels in the masks of all splits together.

    Raises ``SnowmeltError``: no such layout, no images, images without mask, two files with one stem.
    """
    folders = find_splits(root, image_folder, mask_folder)
    pairs = {split: pair_files(images, masks) for split, (images, masks) in folders.items()}
    names = classes and check_classes(tuple(classes), "classes")
    names = names or _classes_file(root, [masks for _, masks in folders.values()]) or default_classes
    if names is not None and len(names) > 2:
        labels = LabelMap(names)  # no need to look into the masks: 255 can only mean ignored
    else:
        masks = [mask for split in pairs.values() for _, mask in split]
        labels = infer_label_map(examine_all(lambda i: find_labels(masks[i]), len(masks)), names, root)
    return {split: FolderSource(pairs[split], labels, folders[split][0]) for split in pairs}


def find_splits(root: Path, image_folder: str, mask_folder: str) -> dict[str, tuple[Path, Path]]:
    """(image folder, mask folder) by split, for the three layouts that ``open_folder`` knows."""
    outer = {split: (root / split / image_folder, root / split / mask_folder) for split in SPLITS}
    inner = {split: (root / image_folder / split, root / mask_folder / split) for split in SPLITS}
    outer = {split: pair for split, pair in outer.items() if pair[0].is_dir()}
    inner = {split: pair for split, pair in inner.items() if pair[0].is_dir()}
    if outer and inner:
        raise SnowmeltError(
            f"{root}: both {next(iter(outer.values()))[0]} and {next(iter(inner.values()))[0]} exist; keep one layout"
        )
    found = outer or inner
    if not found and (root / image_folder).is_dir():
        return {"train": (root / image_folder, root / mask_folder)}
    if not found:
        raise SnowmeltError(
            f"{root}: holds neither {image_folder}/ nor train/{image_folder}/ nor {image_folder}/train/; put the "
            "pictures there or set data.image_folder and data.mask_folder"
        )
    if "train" not in found:
        raise SnowmeltError(f"{root}: has {'/, '.join(found)}/ but no train/; point at a folder that has train/")
    return found


def pair_files(image_folder: Path, mask_folder: Path) -> list[tuple[Path, Path]]:
    """Picture and mask of every stem, sorted by name. Sub-folders and hidden files are passed over."""
    if not mask_folder.is_dir():
        raise SnowmeltError(f"{mask_folder}: no such folder for the masks; put them there or set data.mask_folder")
    images = _by_stem(image_folder)
    masks = _by_stem(mask_folder)
    if not images:
        raise SnowmeltError(f"{image_folder}: holds no images ({', '.join(IMAGE_SUFFIXES)}; sub-folders do not count)")
    for stem, paths in images.items():
        for same in (paths, masks.get(stem, [])):
            if len(same) > 1:
                raise SnowmeltError(
                    f"{same[0].parent}: {same[0].name} and {same[1].name} share one stem, so image and mask cannot be "
                    "matched; rename or remove one"
                )
    missing = [paths[0] for stem, paths in images.items() if stem not in masks]
    if missing:
        shown = ", ".join(str(path) for path in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise SnowmeltError(
            f"{shown}: {len(missing)} of {len(images)} images have no mask of the same stem in {mask_folder}; add the "
            "masks or remove the images"
        )
    return [(paths[0], masks[stem][0]) for stem, paths in images.items()]


def picture_files(folder: Path) -> list[Path]:
    """The files of a folder that look like pictures, sorted by name. Sub-folders and hidden files are passed over."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    ]


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in picture_files(folder):
        found.setdefault(path.stem, []).append(path)
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
        raise SnowmeltError(f"{first} and {second} name different classes; the splits must share one list")
    return next(iter(chosen.values()), None)
