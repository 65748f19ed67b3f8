"""Recognising how a data folder is laid out, so that nobody has to spell its SPEC."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from snowmelt.data.folders import SPLITS
from snowmelt.data.images import read_labels
from snowmelt.data.picture_files import picture_files
from snowmelt.data.picture_paths import picture_path
from snowmelt.errors import SnowmeltError

IMAGES = ("images", "image", "imgs", "img", "JPEGImages", "photos", "rgb", "input", "inputs")
MASKS = ("masks", "mask", "labels", "label", "SegmentationClass", "annotations", "gt", "ground_truth", "segmentation")
KNOWN = (
    "images/ beside masks/ (or other names), both inside train/, val/, test/ or the other way round, with equal file "
    "stems and masks of ids, not JPEG; or COCO JSON files beside their pictures"
)
SAMPLES = 3  # masks that are opened to see whether they are some
NAMES = 20  # pictures of an annotation file that are looked for
LARGEST = 2 << 30  # bytes of an annotation file


@dataclass(frozen=True)
class Layout:
    """How ``open_splits`` is to be asked for a folder, and in a few words what it was recognised by."""

    source: str
    what: str
    val: str | None = None
    image_folder: str = "images"
    mask_folder: str = "masks"


def find_layout(root: Path, image_folder: str | None = None, mask_folder: str | None = None) -> Layout:
    """The layout of ``root``.

    Args:
        image_folder: its name where that is known already; without it, it is found by what it holds.
        mask_folder: as ``image_folder``.

    Raises:
        SnowmeltError: no such folder, none of the known layouts, or several that would do.
    """
    if not root.is_dir():
        raise SnowmeltError(f"{root}: no such folder", code="data-folder-missing")
    found = _folders(root, image_folder, mask_folder)
    if found is None and mask_folder is None:
        found = _coco(root)
    if found is None:  # masks that cannot be read as such, in JPEG or in colours: whoever reads them says why
        found = _folders(root, image_folder, mask_folder, by_name=True)
    if found is None:
        raise SnowmeltError(
            f"{root}: no layout that is known here: {KNOWN}; rename folders, or give a SPEC", code="data-layout-unknown"
        )
    return found


def _folders(root: Path, image_folder: str | None, mask_folder: str | None, by_name: bool = False) -> Layout | None:
    """The folders by what they hold; or, ``by_name``, those whose name says that masks are in them."""
    named = {name.lower() for name in (MASKS if mask_folder is None else (mask_folder,))}
    for where, outer in _places(root):
        inner = next((split for split in SPLITS if any((d / split).is_dir() for d in _subfolders(where))), None)
        below = {d.name: d if outer or inner is None else d / inner for d in _subfolders(where)}
        stems = {name: _stems(folder) for name, folder in below.items() if folder.is_dir()}
        stems = {name: found for name, found in stems.items() if found}
        images = [name for name in stems if name == image_folder or (image_folder is None and _is_images(below[name]))]
        if by_name:
            images = [name for name in images if name.lower() not in named]
        pairs = [
            (image, mask)
            for image in _preferred(images, IMAGES)
            for mask in stems
            if mask != image
            and mask_folder in (None, mask)
            and _belong(stems[image], stems[mask])
            and (mask.lower() in named if by_name else _is_masks(below[mask]))
        ]
        if not pairs:
            continue
        image = pairs[0][0]
        masks = _preferred([mask for name, mask in pairs if name == image], MASKS)
        if len(masks) > 1 and masks[0] not in MASKS:
            raise SnowmeltError(
                f"{root}: {' and '.join(f'{mask}/' for mask in sorted(masks))} hold masks of {image}/; choose one, "
                f"such as --set data.mask_folder={sorted(masks)[0]}",
                code="data-layout-ambiguous",
            )
        form = f"{where.name}/{image} and {masks[0]}" if outer else f"{image}/ and {masks[0]}/"
        return Layout(str(root), f"pictures and masks by equal stems in {form}", None, image, masks[0])
    return None


def _places(root: Path) -> Iterator[tuple[Path, bool]]:
    """Where folders of pictures and masks may lie side by side, and whether that is a split."""
    yield root, False
    for split in SPLITS:
        if (root / split).is_dir():
            yield root / split, True
            return


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _stems(folder: Path) -> set[str]:
    return {os.path.splitext(name)[0] for name in picture_files(folder).names}


def _belong(images: set[str], masks: set[str]) -> bool:
    """Whether at least half of the pictures have a mask; ``check-data`` tells which have none."""
    return 2 * len(images & masks) >= len(images)


def _is_masks(folder: Path) -> bool:
    """Whether some files of the folder can be read as masks; not all are opened."""
    readable = 0
    files = picture_files(folder)[:SAMPLES]
    for path in files:
        try:
            read_labels(path)
        except SnowmeltError:
            continue
        readable += 1
    return 2 * readable > len(files)


def _is_images(folder: Path) -> bool:
    """Whether the folder is named as one of pictures, or holds what cannot be masks."""
    names = {part.lower() for part in (folder.name, folder.parent.name)}
    return bool(names & {name.lower() for name in IMAGES}) or not _is_masks(folder)


def _preferred(names: list[str], order: tuple[str, ...]) -> list[str]:
    """Known names first, in their order; then the others by name."""
    ranks = {name.lower(): rank for rank, name in enumerate(order)}
    return sorted(names, key=lambda name: (ranks.get(name.lower(), len(order)), name))


def _coco(root: Path) -> Layout | None:
    """Annotation files in the folder, or in one folder below it, with their pictures anywhere two levels down."""
    files = [path for folder in (root, *_subfolders(root)) for path in sorted(folder.glob("*.json"))]
    found = {path: images for path in files if (images := _images_of(path, root)) is not None}
    if not found:
        return None
    by_split = {split: [path for path in found if split in path.stem.lower()] for split in SPLITS}
    for split, paths in by_split.items():
        instances = [path for path in paths if "instances" in path.stem.lower()]
        by_split[split] = instances if len(paths) > 1 and instances else paths
    train = by_split["train"] or ([path for path in found] if len(found) == 1 else [])
    if len(train) != 1 or len(by_split["val"]) > 1:
        names = ", ".join(path.name for path in found)
        raise SnowmeltError(
            f"{root}: several annotation files ({names}); choose one and give coco:IMAGES:JSON",
            code="data-layout-ambiguous",
        )
    spec = {path: f"coco:{images}:{path}" for path, images in found.items()}
    val = spec[by_split["val"][0]] if by_split["val"] else None
    return Layout(spec[train[0]], f"COCO annotations in {train[0].name}", val)


def _images_of(path: Path, root: Path) -> Path | None:
    """The folder in which the pictures of a COCO file lie; none if it is no such file or they are not there."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        content = json.loads(path.read_bytes())
        names = [entry["file_name"] for entry in content["images"][:NAMES]]
        regions = content["annotations"]
        if not names or not content["categories"] or not (not regions or regions[0]["segmentation"]):
            return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    folders = [root, *_subfolders(root)]
    folders += [below for folder in folders[1:] for below in _subfolders(folder)]
    hits = {folder: sum(picture_path(str(name), folder).is_file() for name in names) for folder in folders}
    best = max(folders, key=lambda folder: hits[folder])
    return best if hits[best] else None
