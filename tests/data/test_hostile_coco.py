"""Annotations that state too much: sizes that no picture has, nests without end, regions outside and inside out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmelt.data import coco as coco_room
from snowmelt.data.coco import CocoSource
from snowmelt.data.coco_regions import Region, paint_mask
from snowmelt.data.survey import open_parts, survey
from snowmelt.errors import SnowmeltError

Write = Callable[..., tuple[Path, Path]]


@pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (30_000, 30_000), (10**30, 1), (0, 8), (-1, -8), (8, 2**40)])
def test_a_size_that_no_picture_has_is_refused_before_any_mask_is_made(coco: Write, size: tuple[int, int]) -> None:
    def absurd(content: dict[str, Any]) -> None:
        content["images"][0].update(height=size[0], width=size[1])

    with pytest.raises(SnowmeltError, match=r"coco\.json: images\[0\]: .* is no size"):
        CocoSource(*coco(absurd))


def test_no_mask_is_made_at_a_size_that_the_picture_does_not_have(coco: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(content: dict[str, Any]) -> None:
        content["images"][0].update(height=9000, width=9000)

    folder, path = coco(other)
    painted: list[tuple[int, int]] = []
    whole = coco_room.paint_mask
    monkeypatch.setattr(
        coco_room, "paint_mask", lambda regions, *size: (painted.append(size), whole(regions, *size))[1]
    )
    with pytest.raises(SnowmeltError, match="9000 x 9000"):
        CocoSource(folder, path).check()
    found = survey(open_parts(f"coco:{folder}:{path}"))
    assert (9000, 9000) not in painted and not found.sound
    assert "9000 x 9000" in json.dumps(found.to_dict())
    (folder / "a.png").write_bytes(b"")  # nor where there is no picture to compare it with
    assert not survey(open_parts(f"coco:{folder}:{path}")).sound
    assert (9000, 9000) not in painted


@pytest.mark.parametrize(
    "segmentation", ["[" * 3000 + "]" * 3000, '{"size": ' + "[" * 500 + "]" * 500 + "}", "9" * 6000]
)
@pytest.mark.parametrize("indexed", [False, True])
def test_nests_and_numbers_without_end(coco: Write, tmp_path: Path, segmentation: str, indexed: bool) -> None:
    region = {"id": 1, "image_id": 7, "category_id": 1, "segmentation": "HERE"}
    folder, path = coco(lambda content: content["annotations"].append(region))
    path.write_text(path.read_text().replace('"HERE"', segmentation))
    with pytest.raises(SnowmeltError, match=r"coco\.json") as caught:
        CocoSource(folder, path, (), tmp_path / "index" if indexed else None).check()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def painted(*polygons: list[float]) -> np.ndarray:
    return paint_mask([Region([list(each) for each in polygons], 1, False, "here")], 8, 12)


def test_polygons_outside_are_cut_at_the_edge() -> None:
    assert not painted([20.0, 20.0, 30.0, 20.0, 30.0, 30.0]).any()
    assert not painted([-30.0, -30.0, -20.0, -30.0, -20.0, -20.0]).any()
    half = painted([-6.0, -4.0, 6.0, -4.0, 6.0, 4.0, -6.0, 4.0])
    np.testing.assert_array_equal(half[:4, :6], 1)
    assert half.sum() == 24


def test_polygons_that_cross_themselves_or_have_no_area() -> None:
    bow = painted([1.0, 1.0, 10.0, 7.0, 10.0, 1.0, 1.0, 7.0])
    assert 0 < bow.sum() < 54 and bow.max() == 1
    assert painted([3.0, 3.0, 3.0, 3.0, 3.0, 3.0]).sum() <= 1
    assert painted([1.0, 4.0, 10.0, 4.0, 5.0, 4.0]).sum() <= 12


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.floats(allow_nan=True, allow_infinity=True, width=32), st.booleans(), st.none()
)
LISTS = st.lists(NUMBERS, max_size=12)
REGIONS = st.one_of(
    st.lists(LISTS, max_size=3),
    st.fixed_dictionaries(
        {"size": st.one_of(st.just([8, 12]), LISTS), "counts": st.one_of(LISTS, st.text(max_size=30), NUMBERS)}
    ),
    NUMBERS,
    st.text(max_size=10),
)


@settings(max_examples=150)
@given(segmentation=REGIONS, crowd=st.booleans())
def test_any_region_is_painted_or_refused_in_a_line(segmentation: Any, crowd: bool) -> None:
    try:
        mask = paint_mask([Region(segmentation, 1, crowd, "file.json: annotation 3")], 8, 12)
    except SnowmeltError as error:
        assert str(error).startswith("file.json: annotation 3") and "\n" not in str(error)
    else:
        assert mask.shape == (8, 12) and mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255 if crowd else 1}
