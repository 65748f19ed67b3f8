from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import save_image
from faster_coco_eval.core import mask as coco_mask
from PIL import Image

from snowmelt.data.coco import CocoSource
from snowmelt.errors import SnowmeltError

Write = Callable[..., tuple[Path, Path]]
HEIGHT, WIDTH = 8, 12


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def region(mask: np.ndarray) -> list[int]:
    """Run lengths by hand: columns first, beginning with the run of zeros."""
    runs, value, length = [], 0, 0
    for pixel in mask.T.ravel().astype(int):
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    return [*runs, length]


def annotated(*annotations: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for number, annotation in enumerate(annotations):
            content["annotations"].append({"id": number, "image_id": 7, "category_id": 1, **annotation})

    return change


def mask_of(write: Write, *annotations: dict[str, Any], categories: tuple[str, ...] = ()) -> np.ndarray:
    source = CocoSource(*write(annotated(*annotations)), categories)
    source.check()
    return source.load(0).mask


def filled(*boxes: tuple[int, int, int, int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for left, top, right, bottom, label in boxes:
        mask[top:bottom, left:right] = label
    return mask


def test_all_categories_come_by_id_and_chosen_ones_in_their_order(coco: Write) -> None:
    files = coco()
    assert CocoSource(*files).classes == ("background", "person", "dog")
    assert CocoSource(*files, ["dog", "person"]).classes == ("background", "dog", "person")
    assert CocoSource(*files, ["dog"]).classes == ("background", "dog")


def test_a_category_called_background_is_class_zero_and_equal_names_are_merged(coco: Write) -> None:
    def change(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": i, "name": n} for i, n in enumerate(("background", "dog", "dog"))]
        annotated(
            {"category_id": 1, "segmentation": box(0, 0, 2, 8)}, {"category_id": 2, "segmentation": box(4, 0, 6, 8)}
        )(content)

    source = CocoSource(*coco(change))
    assert source.classes == ("background", "dog")
    np.testing.assert_array_equal(source.load(0).mask, filled((0, 0, 2, 8, 1), (4, 0, 6, 8, 1)))


def test_polygons_of_one_annotation_are_united(coco: Write) -> None:
    found = mask_of(coco, {"segmentation": box(1, 1, 4, 5) + box(6, 2, 10, 7)})
    np.testing.assert_array_equal(found, filled((1, 1, 4, 5, 1), (6, 2, 10, 7, 1)))


@pytest.mark.parametrize("compressed", [False, True])
def test_run_lengths(coco: Write, compressed: bool) -> None:
    truth = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.4
    counts: Any = region(truth)
    if compressed:
        counts = coco_mask.encode(np.asfortranarray(truth.astype(np.uint8)))["counts"]
        counts = counts.decode() if isinstance(counts, bytes) else counts
    found = mask_of(coco, {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}})
    np.testing.assert_array_equal(found, truth)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_smaller_region_lies_on_top(coco: Write, order: tuple[int, int]) -> None:
    large = {"category_id": 3, "segmentation": box(0, 0, 10, 8)}
    small = {"category_id": 1, "segmentation": box(2, 2, 5, 5)}
    found = mask_of(coco, *[(large, small)[i] for i in order])
    np.testing.assert_array_equal(found, filled((0, 0, 10, 8, 2), (2, 2, 5, 5, 1)))


def test_of_equal_regions_the_later_lies_on_top(coco: Write) -> None:
    found = mask_of(
        coco, {"category_id": 3, "segmentation": box(0, 0, 4, 4)}, {"category_id": 1, "segmentation": box(2, 0, 6, 4)}
    )
    np.testing.assert_array_equal(found, filled((0, 0, 2, 4, 2), (2, 0, 6, 4, 1)))


def test_crowds_of_chosen_categories_are_ignored_everywhere(coco: Write) -> None:
    crowd = {
        "category_id": 1,
        "iscrowd": 1,
        "segmentation": {"size": [8, 12], "counts": region(filled((0, 0, 6, 8, 1)))},
    }
    dog = {"category_id": 3, "segmentation": box(4, 0, 8, 8)}
    both = filled((4, 0, 8, 8, 2), (0, 0, 6, 8, 255))
    np.testing.assert_array_equal(mask_of(coco, crowd, dog), both)
    np.testing.assert_array_equal(mask_of(coco, dog, crowd), both)
    np.testing.assert_array_equal(mask_of(coco, dog, crowd, categories=("dog",)), filled((4, 0, 8, 8, 1)))


def test_no_annotations_means_background(coco: Write) -> None:
    assert not mask_of(coco).any()


def test_names_are_file_names_and_sources_can_be_sent_to_workers(coco: Write) -> None:
    source = pickle.loads(pickle.dumps(CocoSource(*coco())))
    assert len(source) == 1 and source.name(0) == source.load(0).name == "a.png"
    assert "coco.json" in source.describe() and "dog" in source.describe()


def put(*keys: str | int, value: Any = None, remove: bool = False) -> Callable[[dict[str, Any]], None]:
    """A change that sets or removes the entry at the end of a path of keys."""

    def change(content: Any) -> None:
        annotated({"segmentation": box(0, 0, 4, 4)})(content)
        for key in keys[:-1]:
            content = content[key]
        if remove:
            del content[keys[-1]]
        else:
            content[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("images", remove=True), "'images' must be a list"),
        (put("images", value=[3]), "'images' must be a list of objects"),
        (put("images", value=[]), "lists no images"),
        (put("annotations", value={}), "'annotations' must be a list"),
        (put("images", 0, "id", remove=True), r"images\[0\]: 'id' is missing"),
        (put("images", 0, "height", value="8"), r"images\[0\]: 'height' is '8'; it must be of type int"),
        (put("images", 0, "width", value=0), "0 x 8 is no size"),
        (put("images", 0, "file_name", value=None), "'file_name' is 'None'"),
        (put("images", 0, "file_name", value="gone.png"), r"gone\.png does not exist"),
        (put("annotations", 0, "image_id", value=8), r"annotations\[0\]: image_id 8 is not among the images"),
        (put("annotations", 0, "image_id", value=True), "'image_id' is 'True'"),
        (put("annotations", 0, "category_id", value=9), "category_id 9 is not among the categories"),
        (put("annotations", 0, "iscrowd", value=2), "iscrowd is 2"),
        (put("annotations", 0, "segmentation", remove=True), "has no segmentation"),
        (put("annotations", 0, "segmentation", value=[]), "no segmentation; a box"),
        (put("categories", 1, "id", value=3), r"categories\[1\]: id 3 is there twice"),
        (put("categories", value=[]), "1 classes"),
    ],
)
def test_malformed_files(coco: Write, change: Callable[[dict[str, Any]], None], message: str) -> None:
    with pytest.raises(SnowmeltError, match=rf"coco\.json: .*{message}"):
        CocoSource(*coco(change))


def test_an_id_or_a_file_may_not_come_twice(coco: Write) -> None:
    def repeat(**changed: Any) -> Callable[[dict[str, Any]], None]:
        return lambda content: content["images"].append({**content["images"][0], **changed})

    with pytest.raises(SnowmeltError, match=r"images\[1\]: id 7 is there twice"):
        CocoSource(*coco(repeat()))
    with pytest.raises(SnowmeltError, match=r"images\[1\]: file_name 'a.png' is there twice"):
        CocoSource(*coco(repeat(id=8)))


@pytest.mark.parametrize("text", [b"{", b"", b"[]", b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_not_a_coco_file(coco: Write, text: bytes) -> None:
    folder, path = coco()
    path.write_bytes(text)
    with pytest.raises(SnowmeltError, match=r"coco\.json: not "):
        CocoSource(folder, path)


def test_absent_files_and_categories(coco: Write, tmp_path: Path) -> None:
    folder, path = coco()
    with pytest.raises(SnowmeltError, match=r"none\.json: cannot be read"):
        CocoSource(folder, tmp_path / "none.json")
    with pytest.raises(SnowmeltError, match="nowhere: no such folder"):
        CocoSource(tmp_path / "nowhere", path)
    with pytest.raises(SnowmeltError, match=r"coco\.json: no category 'cat'; the file has person, dog"):
        CocoSource(folder, path, ["cat"])


@pytest.mark.parametrize(
    "kind", ["parent", "inner parent", "absolute", "backslash", "link", "linked folder", "detour", "nul"]
)
def test_no_path_leaves_the_folder(coco: Write, tmp_path: Path, kind: str) -> None:
    secret = save_image(tmp_path / "secret" / "s.png")
    folder, _ = coco()
    os.symlink(secret, folder / "link.png")
    os.symlink(secret.parent, folder / "linked")
    name = {
        "parent": "../secret/s.png",
        "inner parent": "x/../../secret/s.png",
        "absolute": str(secret),
        "backslash": "..\\secret\\s.png",
        "link": "link.png",
        "linked folder": "linked/s.png",
        "detour": "sub/../a.png",
        "nul": "a.png\0",
    }[kind]
    with pytest.raises(SnowmeltError, match=r"images\[0\]: file_name .* (leads out of|must be a path inside)"):
        CocoSource(*coco(put("images", 0, "file_name", value=name)))


def test_a_link_inside_the_folder_and_a_linked_folder_of_images_are_fine(coco: Write, tmp_path: Path) -> None:
    folder, path = coco(put("images", 0, "file_name", value="sub/b.png"))
    (folder / "sub").mkdir()
    os.symlink(folder / "a.png", folder / "sub" / "b.png")
    os.symlink(folder, tmp_path / "elsewhere")
    CocoSource(tmp_path / "elsewhere", path).check()


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [8, 13], "counts": [104]}, r"for size \[8, 13\].*the picture is \[8, 12\]"),
        ({"size": [12, 8], "counts": [96]}, r"for size \[12, 8\]"),
        ({"size": [8, 12], "counts": [95]}, "add up to 95, not to 96"),
        ({"size": [8, 12], "counts": [-4, 100]}, "whole numbers"),
        ({"size": [8, 12], "counts": [1.5, 94.5]}, "whole numbers"),
        ({"size": [8, 12]}, "'counts' must be"),
        ({"size": [8, 12], "counts": "11"}, "cannot be decoded"),
        ({"size": [8, 12], "counts": "o" * 40}, "cannot be decoded"),
        ({"size": [8, 12], "counts": "PPPPPPPPPPPP"}, "cannot be decoded"),
        ({"size": [8, 12], "counts": "\u00ff\u0100"}, "no run lengths"),
        ({"counts": [96]}, "for size None"),
        ("abc", "list of polygons"),
        ([[1, 1, 5, 1]], "three or more points"),
        ([[1, 1, 5, 1, 5, 5, 1]], "three or more points"),
        ([[1, 1, 5, 1, 5, "5"]], "coordinate 5 lies nowhere near"),
        ([[1e12, 1, 5, 1, 5, 5]], "nowhere near"),  # would keep the rasteriser busy for ever
        ([[float("nan"), 1, 5, 1, 5, 5]], "nowhere near"),
        ([1, 1, 5, 1, 5, 5], "three or more points"),
    ],
)
def test_hostile_segmentations_are_named_by_check(coco: Write, segmentation: Any, message: str) -> None:
    source = CocoSource(*coco(annotated({"segmentation": segmentation})))
    with pytest.raises(SnowmeltError, match=rf"coco\.json: annotation 0 \(a\.png\): .*{message}"):
        source.check()


def test_a_picture_of_another_size(coco: Write) -> None:
    source = CocoSource(*coco(put("images", 0, "width", value=13)))
    for action in (source.check, lambda: source.load(0)):
        with pytest.raises(SnowmeltError, match=r"a\.png: .*12 x 8.*coco\.json says 13 x 8"):
            action()


def test_a_truncated_picture_is_found_by_check(coco: Write) -> None:
    folder, path = coco()
    Image.fromarray(np.zeros((8, 12, 3), dtype=np.uint8)).save(folder / "b.png")
    content = json.loads(path.read_text())
    content["images"].append({"id": 8, "file_name": "b.png", "height": 8, "width": 12})
    path.write_text(json.dumps(content))
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:40])
    with pytest.raises(SnowmeltError, match=r"b\.png: "):
        CocoSource(folder, path).check()
