"""COCO annotations as class masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from snowmelt.data.checking import examine_all
from snowmelt.data.coco_file import CocoAnnotation, CocoImage, read_coco
from snowmelt.data.digests import file_digest
from snowmelt.data.images import probe_image, read_image
from snowmelt.data.samples import IGNORE_INDEX, Sample
from snowmelt.errors import SnowmeltError

# The polygon rasteriser walks along every edge: a coordinate of 1e12 keeps it busy for ever.
_FARTHEST = 10  # image sides from the origin


class CocoSource:
    """Pictures of a folder with the regions of a COCO file, one class per chosen category.

    ``categories`` gives the classes in their order; none means all, by id. Where regions overlap, the smaller one
    lies on top, and of equal ones the later. Crowd regions of a chosen category are ignored, whatever else is marked
    there. A picture without annotations is all background.

    Raises ``SnowmeltError`` for a malformed file; see ``read_coco``.
    """

    def __init__(self, image_folder: Path, json_path: Path, categories: Sequence[str] = ()) -> None:
        self.json_path = json_path
        self.classes, self.images = read_coco(image_folder, json_path, categories)

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Sample:
        record = self.images[index]
        image = read_image(record.path)
        self._same_size(record, image.shape[:2])
        return Sample(image, self.mask(index), record.file_name)

    def name(self, index: int) -> str:
        return self.images[index].file_name

    def digest(self, index: int) -> str:
        return file_digest(self.images[index].path)

    def check(self) -> None:
        examine_all(self._check_item, len(self))

    def _check_item(self, index: int) -> None:
        record = self.images[index]
        self._same_size(record, probe_image(record.path))
        self.mask(index)

    def describe(self) -> str:
        return f"{len(self)} images of {self.json_path}, classes {', '.join(self.classes)}"

    def mask(self, index: int) -> np.ndarray:
        """(H, W) uint8 class indices at the size that the JSON file states; no picture is opened."""
        record = self.images[index]
        mask = np.zeros((record.height, record.width), dtype=np.uint8)
        regions = [
            (
                annotation,
                decode_region(annotation, record, f"{self.json_path}: annotation {annotation.identity}"),
            )
            for annotation in record.annotations
        ]
        ordered = sorted(regions, key=lambda item: -int(item[1].sum()))  # stable: equal areas keep the file's order
        for annotation, region in ordered:
            if not annotation.crowd:
                mask[region] = annotation.label
        for annotation, region in ordered:
            if annotation.crowd:
                mask[region] = IGNORE_INDEX
        return mask

    def _same_size(self, record: CocoImage, found: tuple[int, ...]) -> None:
        if found != (record.height, record.width):
            raise SnowmeltError(
                f"{record.path}: the picture (upright, after its EXIF orientation) is {found[1]} x {found[0]} pixels, "
                f"but {self.json_path} says {record.width} x {record.height}; annotate the picture as it is shown"
            )


def decode_region(annotation: CocoAnnotation, image: CocoImage, place: str) -> np.ndarray:
    """(H, W) bool of one annotation: a list of polygons, or run lengths as a list or as COCO's string."""
    segmentation = annotation.segmentation
    place = f"{place} ({image.file_name})"
    if isinstance(segmentation, dict):
        _check_run_lengths(segmentation, image, place)
    elif isinstance(segmentation, list):
        _check_polygons(segmentation, image, place)
    else:
        raise SnowmeltError(f"{place}: segmentation must be a list of polygons or an object with size and counts")
    try:
        return coco_mask.decode(coco_mask.segmToRle(segmentation, image.width, image.height)).astype(bool)
    except (
        ValueError,
        RuntimeError,
        TypeError,
        OverflowError,
    ) as error:  # what the C++ side raises on bad runs
        reason = " ".join(str(error).split())[:160]
        raise SnowmeltError(f"{place}: segmentation cannot be decoded ({reason})") from error


def _check_run_lengths(segmentation: dict[str, Any], image: CocoImage, place: str) -> None:
    """Checked here and not left to the decoder, which takes memory for the stated size before it reads the runs."""
    size = segmentation.get("size")
    if size != [image.height, image.width]:
        raise SnowmeltError(
            f"{place}: the run lengths are for size {str(size)[:40]} (height, width), but the picture is "
            f"[{image.height}, {image.width}]; export the annotations anew"
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        if not counts.isascii():
            raise SnowmeltError(f"{place}: 'counts' holds characters that are no run lengths")
        return
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise SnowmeltError(f"{place}: 'counts' must be a string or a list of whole numbers from 0")
    if sum(counts) != image.height * image.width:
        raise SnowmeltError(f"{place}: the run lengths add up to {sum(counts)}, not to {image.height * image.width}")


def _check_polygons(polygons: list[Any], image: CocoImage, place: str) -> None:
    farthest = _FARTHEST * max(image.height, image.width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise SnowmeltError(f"{place}: a polygon must be a list x1, y1, x2, y2, ... of three or more points")
        for value in polygon:
            if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > farthest:
                raise SnowmeltError(f"{place}: the coordinate {str(value)[:40]} lies nowhere near the picture")
