"""Layouts are recognised by what folders hold, and what cannot be told is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from data_files import save_image, save_mask
from PIL import Image

from snowmelt.data import open_splits
from snowmelt.data.layouts import KNOWN, Layout, find_layout
from snowmelt.errors import SnowmeltError


def write(root: Path, images: str, masks: str, count: int = 3) -> None:
    for number in range(count):
        save_image(root / images / f"{number}.png", seed=number)
        save_mask(root / masks / f"{number}.png")


def openable(found: Layout) -> bool:
    folders = {"image_folder": found.image_folder, "mask_folder": found.mask_folder}
    return len(open_splits(found.source, val=found.val, **folders).train) > 0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "masks", "expected"),
    [
        ("images", "masks", ("images", "masks")),
        ("train/images", "train/masks", ("images", "masks")),
        ("images/train", "masks/train", ("images", "masks")),
        ("JPEGImages", "SegmentationClass", ("JPEGImages", "SegmentationClass")),
        ("street", "people", ("street", "people")),
        ("train/a", "train/b", ("a", "b")),
        ("zz/train", "yy/train", ("zz", "yy")),
    ],
)
def test_folders_of_any_name(images: str, masks: str, expected: tuple[str, str], tmp_path: Path) -> None:
    write(tmp_path, images, masks)
    found = find_layout(tmp_path)
    assert (found.image_folder, found.mask_folder) == expected
    assert openable(found)


def test_the_usual_name_wins_and_two_unusual_ones_are_asked_about(tmp_path: Path) -> None:
    write(tmp_path, "images", "people")
    write(tmp_path, "images", "parts")
    with pytest.raises(SnowmeltError, match=r"parts/ and people/ hold masks of images/; choose one"):
        find_layout(tmp_path)
    assert find_layout(tmp_path, mask_folder="people").mask_folder == "people"
    write(tmp_path, "images", "masks")
    assert find_layout(tmp_path).mask_folder == "masks"


@pytest.mark.parametrize(("masks", "given"), [("Labels", None), ("people", "people")])
def test_a_folder_named_for_masks_is_one_whatever_they_are_stored_as(
    masks: str, given: str | None, tmp_path: Path
) -> None:
    """Whoever looks them over then says what is wrong with them; but what can be read is preferred."""
    write(tmp_path, "street", masks)
    for path in (tmp_path / masks).iterdir():
        Image.open(path).convert("L").save(path.with_suffix(".jpg"))
        path.unlink()
    found = find_layout(tmp_path, mask_folder=given)
    assert (found.image_folder, found.mask_folder) == ("street", masks)
    write(tmp_path, "street", "zz")
    assert find_layout(tmp_path).mask_folder == "zz"


def write_coco(root: Path, json_file: str, folder: str, **more: object) -> None:
    save_image(root / folder / f"{Path(json_file).stem}.png")
    entry = {"id": 1, "file_name": f"{Path(json_file).stem}.png", "height": 8, "width": 12}
    region = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 6, 0, 6, 6, 0, 6]]}
    content = {"images": [entry], "annotations": [region], "categories": [{"id": 1, "name": "cat"}], **more}
    (root / json_file).parent.mkdir(parents=True, exist_ok=True)
    (root / json_file).write_text(json.dumps(content))


def test_coco_as_it_is_published(tmp_path: Path) -> None:
    write_coco(tmp_path, "annotations/instances_train2017.json", "train2017")
    write_coco(tmp_path, "annotations/instances_val2017.json", "val2017")
    write_coco(tmp_path, "annotations/person_keypoints_train2017.json", "train2017")
    (tmp_path / "annotations/captions_train2017.json").write_text('{"images": [], "annotations": []}')
    found = find_layout(tmp_path)
    assert found.source == f"coco:{tmp_path}/train2017:{tmp_path}/annotations/instances_train2017.json"
    assert found.val == f"coco:{tmp_path}/val2017:{tmp_path}/annotations/instances_val2017.json"
    assert openable(found)


def test_a_lone_annotation_file_and_too_many(tmp_path: Path) -> None:
    write_coco(tmp_path, "labels.json", "deep/pictures")
    assert find_layout(tmp_path).source == f"coco:{tmp_path}/deep/pictures:{tmp_path}/labels.json"
    write_coco(tmp_path, "more.json", "deep/pictures")
    with pytest.raises(SnowmeltError, match=r"several annotation files \(labels.json, more.json\)"):
        find_layout(tmp_path)


def test_what_is_not_known_is_refused_with_what_is(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="no such folder"):
        find_layout(tmp_path / "none")
    for number in range(3):
        save_image(tmp_path / "left" / f"{number}_image.png")
        save_mask(tmp_path / "gt" / f"{number}_labels.png")
    with pytest.raises(SnowmeltError) as refused:
        find_layout(tmp_path)
    assert KNOWN in str(refused.value)
    assert "\n" not in str(refused.value)
