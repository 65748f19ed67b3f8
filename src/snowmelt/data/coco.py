"""COCO annotations as class masks."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from snowmelt.data.checking import examine_all
from snowmelt.data.coco_file import read_coco
from snowmelt.data.coco_index import is_checked, load_index, make_key, mark_checked, save_index
from snowmelt.data.coco_quick import read_quickly
from snowmelt.data.coco_regions import Region, paint_mask
from snowmelt.data.coco_table import CocoTable, build_table, decode_text
from snowmelt.data.file_memory import FileMemory
from snowmelt.data.images import read_image, read_reduced
from snowmelt.data.picture_paths import check_paths, picture_path
from snowmelt.data.samples import Sample
from snowmelt.data.stored_files import Stamp, stamp_of
from snowmelt.errors import SnowmeltError


class CocoSource:
    """Pictures of a folder with the regions of a COCO file, one class per chosen category.

    ``categories`` gives the classes in their order; none means all, by id. Where regions overlap, the smaller one
    lies on top, and of equal ones the later. Crowd regions of a chosen category are ignored, whatever else is marked
    there. A picture without annotations is all background.

    ``index_folder``: where what was read and checked is kept, so that the same data open quickly the next time.

    Raises ``SnowmeltError`` for a malformed file; see ``read_coco``.
    """

    def __init__(
        self, image_folder: Path, json_path: Path, categories: Sequence[str] = (), index_folder: Path | None = None
    ) -> None:
        self.image_folder = image_folder
        self.json_path = json_path
        self.table = read_table(image_folder, json_path, categories, index_folder)
        self.classes = self.table.classes
        self._memory = FileMemory(index_folder)

    def __len__(self) -> int:
        return len(self.table)

    def load(self, index: int) -> Sample:
        path = self.path(index)
        image = read_image(path)
        self.check_same_size(index, image.shape[:2])
        return Sample(image, self.mask(index), self.name(index))

    def load_reduced(self, index: int, long_side: int) -> Sample:
        path = self.path(index)
        image, shape = read_reduced(path, long_side)
        self.check_same_size(index, shape)
        return Sample(image, self.mask(index), self.name(index))

    def name(self, index: int) -> str:
        return self.table.name(index)

    def digest(self, index: int) -> str:
        return self._memory.digest(self.path(index))

    def mask_digest(self, index: int) -> str:
        """Of what the file says about the picture's size and regions."""
        table = self.table
        regions = slice(int(table.firsts[index]), int(table.firsts[index + 1]))
        digest = hashlib.blake2b(repr(table.size(index)).encode(), digest_size=16)
        for values in (table.labels[regions], table.crowds[regions], table.segmentations.lengths(regions)):
            digest.update(values.tobytes())
        digest.update(table.segmentations.together(regions))
        return digest.hexdigest()

    def check(self) -> None:
        """A picture that has not changed since it was found good is not read again, nor are masks made again."""
        masks = not is_checked(self.table)
        try:
            examine_all(lambda index: self._check_item(index, masks), len(self), self.name)
        finally:
            self._memory.save()
        if masks:
            mark_checked(self.table)

    def _check_item(self, index: int, mask: bool) -> None:
        path = self.path(index)
        self.check_same_size(index, self._memory.picture_size(path))
        if mask:
            self.mask(index)

    def describe(self) -> str:
        return f"{len(self)} images of {self.json_path}, classes {', '.join(self.classes)}"

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint8 class indices at the size that the JSON file states; no picture is opened."""
        return paint_mask(self._regions(index), *self.table.size(index))

    def _regions(self, index: int) -> list[Region]:
        table, name = self.table, self.name(index)
        regions = []
        for number in range(int(table.firsts[index]), int(table.firsts[index + 1])):
            place = f"{self.json_path}: annotation {decode_text(table.identities[number])} ({name})"
            try:
                segmentation = json.loads(table.segmentations[number])
            except (ValueError, RecursionError) as error:  # more digits than Python converts, or too deep a nest
                raise SnowmeltError(
                    f"{place}: segmentation cannot be decoded ({error})", code="annotation-region"
                ) from error
            regions.append(Region(segmentation, int(table.labels[number]), bool(table.crowds[number]), place))
        return regions

    def path(self, index: int) -> Path:
        """The picture's file."""
        return picture_path(self.table.name(index), self.image_folder)

    def check_same_size(self, index: int, found: tuple[int, ...]) -> None:
        """Raises ``SnowmeltError`` where the picture's (height, width) are not those that the file states."""
        height, width = self.table.size(index)
        if found != (height, width):
            raise SnowmeltError(
                f"{self.path(index)}: the picture (upright, after its EXIF orientation) is {found[1]} x {found[0]} "
                f"pixels, but {self.json_path} says {width} x {height}; annotate the picture as it is shown",
                code="annotation-size",
            )


def read_table(
    image_folder: Path, json_path: Path, categories: Sequence[str] = (), index_folder: Path | None = None
) -> CocoTable:
    """The content of a COCO file: from its index if there is a good one, else from the file, and then indexed.

    Raises ``SnowmeltError`` as ``read_coco`` does.
    """
    if not image_folder.is_dir():
        raise SnowmeltError(f"{image_folder}: no such folder of images", code="data-folder-missing")
    table: CocoTable | None = None
    stamp = stamp_of(json_path)
    if index_folder is not None and stamp is not None:
        table = load_index(make_key(json_path, stamp, categories), index_folder)
    if table is None:
        table = _read_file(image_folder, json_path, categories)
        # A file that was written to meanwhile is indexed the next time.
        if index_folder is not None and stamp is not None and stamp_of(json_path) == stamp:
            table = _indexed(table, json_path, stamp, categories, index_folder)
    check_paths(table.all_names(), image_folder, lambda position: f"{json_path}: images[{position}]")
    return table


def _read_file(image_folder: Path, json_path: Path, categories: Sequence[str]) -> CocoTable:
    try:
        content = json_path.read_bytes()
    except OSError:
        content = b""  # which is no JSON; the careful reader finds the reason
    table = read_quickly(content, categories, json_path)
    if table is not None:
        return table
    del content
    classes, images = read_coco(image_folder, json_path, categories)
    regions = [(position, region) for position, image in enumerate(images) for region in image.annotations]
    return build_table(
        classes,
        [(image.file_name, image.height, image.width) for image in images],
        [position for position, _ in regions],
        [region.label for _, region in regions],
        [region.crowd for _, region in regions],
        [region.identity for _, region in regions],
        [json.dumps(region.segmentation).encode() for _, region in regions],
    )


def _indexed(
    table: CocoTable, json_path: Path, stamp: Stamp, categories: Sequence[str], index_folder: Path
) -> CocoTable:
    """The table in its index, mapped into memory; the table itself where none can be written."""
    key = make_key(json_path, stamp, categories)
    return (save_index(table, key, index_folder) and load_index(key, index_folder)) or table
