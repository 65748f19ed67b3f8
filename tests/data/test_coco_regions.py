from __future__ import annotations

from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.coco_regions import Region, paint_mask

HEIGHT, WIDTH = 19, 23

coordinates = st.one_of(st.integers(-30, 60), st.floats(-30, 60).map(lambda value: round(value, 2)))
polygons = st.lists(st.lists(coordinates, min_size=3, max_size=7).map(lambda half: half + half[::-1]), max_size=3)


@st.composite
def run_lengths(draw: st.DrawFn) -> dict[str, Any]:
    """Runs that fill the picture, as a list or as COCO's string; runs of no pixels among them."""
    cuts = sorted(draw(st.lists(st.integers(0, HEIGHT * WIDTH), max_size=9)))
    counts = np.diff([0, *cuts, HEIGHT * WIDTH]).tolist()
    segmentation = {"size": [HEIGHT, WIDTH], "counts": counts}
    if draw(st.booleans()):
        text = coco_mask.segmToRle(segmentation, WIDTH, HEIGHT)["counts"]
        segmentation["counts"] = text.decode() if isinstance(text, bytes) else text
    return segmentation


regions = st.lists(
    st.builds(
        Region,
        segmentation=st.one_of(polygons.filter(bool), run_lengths()),
        label=st.integers(1, 5),
        crowd=st.booleans(),
        place=st.just("here"),
    ),
    max_size=6,
)


def painted_bitmap_by_bitmap(regions: list[Region]) -> np.ndarray:
    """What the words say: the larger first, the earlier of equal ones first, crowds at last."""
    bitmaps = [coco_mask.decode(coco_mask.segmToRle(each.segmentation, WIDTH, HEIGHT)).astype(bool) for each in regions]
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for number in sorted(range(len(regions)), key=lambda number: (-int(bitmaps[number].sum()), number)):
        if not regions[number].crowd:
            mask[bitmaps[number]] = regions[number].label
    for region, bitmap in zip(regions, bitmaps, strict=True):
        if region.crowd:
            mask[bitmap] = 255
    return mask


@given(regions)
def test_runs_paint_what_bitmaps_paint(regions: list[Region]) -> None:
    mask = paint_mask(regions, HEIGHT, WIDTH)
    np.testing.assert_array_equal(mask, painted_bitmap_by_bitmap(regions))
    assert mask.dtype == np.uint8 and mask.flags.c_contiguous and mask.flags.writeable
