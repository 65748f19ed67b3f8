from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_files import save_mask
from PIL import Image

from snowmelt.data.labels import LabelMap, LabelsFound, check_classes, find_labels, infer_label_map, read_classes
from snowmelt.data.samples import UNLABELLED
from snowmelt.errors import SnowmeltError

WHERE = Path("data")


def found(*values: int, bilevel: bool = False) -> LabelsFound:
    return LabelsFound(frozenset(values), bilevel)


@pytest.mark.parametrize(
    ("masks", "classes", "white"),
    [
        ([found(0, 255)], ("background", "foreground"), True),
        ([found(0), found(255)], ("background", "foreground"), True),
        ([found(0, 1)], ("background", "foreground"), False),
        ([found(0, 1, bilevel=True)], ("background", "foreground"), False),
        ([found(0, 255), found(0, 1, bilevel=True)], ("background", "foreground"), True),
        ([found(0, 255), found(0, 1)], ("background", "foreground"), False),  # 255 is ignored here
        ([found(0, 2), found(1)], ("background", "class_1", "class_2"), False),
        ([found(1, 2)], ("background", "class_1", "class_2"), False),
        ([found(0, 1, 2, 255)], ("background", "class_1", "class_2"), False),
    ],
)
def test_classes_from_the_masks(masks: list[LabelsFound], classes: tuple[str, ...], white: bool) -> None:
    assert infer_label_map(masks, None, WHERE) == LabelMap(classes, white)


@pytest.mark.parametrize(
    ("masks", "names", "white"),
    [
        ([found(0, 255)], ("sky", "kite"), True),
        ([found(0, 1, 255)], ("sky", "kite"), False),
        ([found(0, 255)], ("sky", "kite", "bird"), False),
    ],
)
def test_black_and_white_needs_two_classes(masks: list[LabelsFound], names: tuple[str, ...], white: bool) -> None:
    assert infer_label_map(masks, names, WHERE) == LabelMap(names, white)


@pytest.mark.parametrize("masks", [[found(0)], [found(255, 0), found(0, bilevel=True)][1:], [found()]])
def test_nothing_but_background(masks: list[LabelsFound]) -> None:
    with pytest.raises(SnowmeltError, match=r"data: .*nothing to learn"):
        infer_label_map(masks, None, WHERE)


@pytest.mark.parametrize("values", [(0, 38), (0, 128, 255), (0, 85, 170), tuple(range(100))])
def test_grey_levels_are_not_taken_for_classes(values: tuple[int, ...]) -> None:
    with pytest.raises(SnowmeltError, match=r"data: .*classes\.txt"):
        infer_label_map([found(*values)], None, WHERE)


def test_reading_ids_and_ignored(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.png", (0, 1, 255))
    np.testing.assert_array_equal(LabelMap(("a", "b")).read(path)[0], [0] * 4 + [1] * 4 + [255] * 4)


def test_reading_white_as_foreground(tmp_path: Path) -> None:
    labels = LabelMap(("a", "b"), white_is_foreground=True)
    np.testing.assert_array_equal(labels.read(save_mask(tmp_path / "m.png", (0, 255)))[0], [0] * 6 + [1] * 6)
    bilevel = tmp_path / "one.png"
    Image.fromarray(np.array([[False, True]])).save(bilevel)
    np.testing.assert_array_equal(labels.read(bilevel), [[0, 1]])
    assert find_labels(bilevel) == LabelsFound(frozenset({0, 1}), bilevel=True)


def test_an_unknown_label_is_named_with_its_file_and_the_classes(tmp_path: Path) -> None:
    path = save_mask(tmp_path / "m.png", (0, 7))
    with pytest.raises(SnowmeltError, match=r"m\.png: label 7 is none of the classes 0 sky, 1 kite, 2 bird"):
        LabelMap(("sky", "kite", "bird")).read(path)
    with pytest.raises(SnowmeltError, match=r"m\.png: label 7 is neither 0 \(sky\) nor 255 \(kite\)"):
        LabelMap(("sky", "kite"), white_is_foreground=True).read(path)


def test_a_sixteen_bit_id_does_not_wrap_around(tmp_path: Path) -> None:
    path = tmp_path / "m.png"
    Image.fromarray(np.array([[0, 256]], dtype=np.uint16)).save(path)
    with pytest.raises(SnowmeltError, match="label 256"):
        LabelMap(("sky", "kite")).read(path)


def test_classes_file(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes("\ufeffbackground\r\ntraffic light \r\nKätzchen\n\n".encode())
    assert read_classes(path) == ("background", "traffic light", "Kätzchen")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a\n", "1 classes"),
        (b"a\nb\na\n", "'a' is there twice"),
        (b"a\n\nb", "empty class name"),
        (b"a\n\xff\n", "UTF-8"),
    ],
)
def test_bad_classes_files(tmp_path: Path, text: bytes, reason: str) -> None:
    path = tmp_path / "classes.txt"
    path.write_bytes(text)
    with pytest.raises(SnowmeltError, match=rf"classes\.txt: .*{reason}"):
        read_classes(path)


def test_too_many_classes() -> None:
    assert len(check_classes(tuple(str(i) for i in range(254)), "x")) == 254
    with pytest.raises(SnowmeltError, match="255 classes; there must be 2 to 254"):
        check_classes(tuple(str(i) for i in range(255)), "x")


@pytest.mark.parametrize("white", [False, True])
def test_a_mask_file_cannot_hold_the_mark_of_unlabelled_pixels(tmp_path: Path, white: bool) -> None:
    names = ("a", "b") if white else tuple(str(i) for i in range(254))
    path = save_mask(tmp_path / "m.png", (0, UNLABELLED, 255))
    with pytest.raises(SnowmeltError, match="label 254 is n"):
        LabelMap(names, white_is_foreground=white).read(path)
