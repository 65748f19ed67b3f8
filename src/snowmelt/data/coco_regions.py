"""Regions of a COCO file on a picture: polygons and run lengths, checked before compiled code sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from faster_coco_eval import mask_api_new_cpp as run_lengths
from faster_coco_eval.core import mask as coco_mask

from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.errors import SnowmeltError

# The polygon rasteriser walks along every edge: a coordinate of 1e12 keeps it busy for ever.
_FARTHEST = 10  # image sides from the origin

# What the compiled side raises on bad runs.
_DECODING_ERRORS = (ValueError, RuntimeError, TypeError, OverflowError)


@dataclass(frozen=True)
class Region:
    """One region of a picture. ``place``: what errors begin with."""

    segmentation: Any  # a list of polygons, or run lengths as a list or as COCO's string
    label: int
    crowd: bool
    place: str


def paint_mask(regions: Sequence[Region], height: int, width: int) -> np.ndarray:
    """(height, width) uint8: the labels of the regions on background 0.

    Of overlapping regions the smaller lies on top, and of equal ones the later; crowds are ignored, whatever else is
    marked there. Regions are painted run by run, which takes a fraction of the time of a bitmap for each.

    Raises ``SnowmeltError`` for a region that cannot be decoded.
    """
    column_wise = np.zeros(height * width, dtype=np.uint8)  # as COCO's runs go
    all_runs = [_runs(region, height, width) for region in regions]
    areas = [sum(runs[1::2]) for runs in all_runs]
    order = sorted(range(len(regions)), key=lambda number: -areas[number])  # stable: equal areas keep the file's order
    for number in sorted(order, key=lambda number: regions[number].crowd):
        value = IGNORE_INDEX if regions[number].crowd else regions[number].label
        ends = list(accumulate(all_runs[number]))
        for start, end in zip(ends[::2], ends[1::2], strict=False):  # a last run of zeros has no partner
            column_wise[start:end] = value
    return np.ascontiguousarray(column_wise.reshape(width, height).T)


def _runs(region: Region, height: int, width: int) -> list[int]:
    """The lengths of a region's runs, column by column, beginning with zeros; together they fill the picture."""
    segmentation, place = region.segmentation, region.place
    if isinstance(segmentation, dict):
        _check_run_lengths(segmentation, height, width, place)
    elif isinstance(segmentation, list):
        _check_polygons(segmentation, height, width, place)
    else:
        raise SnowmeltError(
            f"{place}: segmentation must be a list of polygons or an object with size and counts",
            code="annotation-region",
        )
    try:
        encoded = coco_mask.segmToRle(segmentation, width, height)
        runs: list[int] = run_lengths.toUncompressedRLE([encoded])[0]["counts"]
        if min(runs, default=0) < 0 or sum(runs) != height * width:
            # Runs that the library would not decode; and if it did after all, those that it makes of them.
            encoded = coco_mask.encode(np.asfortranarray(coco_mask.decode(encoded)))
            runs = run_lengths.toUncompressedRLE([encoded])[0]["counts"]
    except _DECODING_ERRORS as error:
        reason = " ".join(str(error).split())[:160]
        raise SnowmeltError(f"{place}: segmentation cannot be decoded ({reason})", code="annotation-region") from error
    return runs


def _check_run_lengths(segmentation: dict[str, Any], height: int, width: int, place: str) -> None:
    """Checked here and not left to the decoder, which takes memory for the stated size before it reads the runs."""
    size = segmentation.get("size")
    if size != [height, width]:
        raise SnowmeltError(
            f"{place}: the run lengths are for size {str(size)[:40]} (height, width), but the picture is "
            f"[{height}, {width}]; export the annotations anew",
            code="annotation-region",
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        if not counts.isascii():
            raise SnowmeltError(f"{place}: 'counts' holds characters that are no run lengths", code="annotation-region")
        return
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise SnowmeltError(
            f"{place}: 'counts' must be a string or a list of whole numbers from 0", code="annotation-region"
        )
    if sum(counts) != height * width:
        raise SnowmeltError(
            f"{place}: the run lengths add up to {sum(counts)}, not to {height * width}", code="annotation-region"
        )


def _check_polygons(polygons: list[Any], height: int, width: int, place: str) -> None:
    farthest = _FARTHEST * max(height, width)
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise SnowmeltError(
                f"{place}: a polygon must be a list x1, y1, x2, y2, ... of three or more points",
                code="annotation-region",
            )
        for value in polygon:
            if type(value) not in (int, float) or not math.isfinite(value) or abs(value) > farthest:
                raise SnowmeltError(
                    f"{place}: the coordinate {str(value)[:40]} lies nowhere near the picture", code="annotation-region"
                )
