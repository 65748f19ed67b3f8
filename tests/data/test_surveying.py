"""A look at a data set finds what was spoilt in it, counts right, and is as strict as training, no more and no less."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_sets import SIDE, change_mask, write_scenes
from PIL import Image

from snowmelt.data import ScenesSource, open_splits
from snowmelt.data.survey import Survey, open_parts, survey
from snowmelt.errors import SnowmeltError

COUNTS = {"train": 6, "val": 3}
Spoil = Callable[[Path], object]


def looked_at(root: Path | str, **options: object) -> Survey:
    return survey(open_parts(str(root), **options), image_size=SIDE)  # type: ignore[arg-type]


def kinds(found: Survey) -> dict[str, list[str]]:
    """By kind of finding the names of its files."""
    return {each.kind: [Path(item.file).name for item in each.items] for each in found.findings}


def training_takes(root: Path, **options: object) -> bool:
    return refused_by_training(root, **options) is None


def refused_by_training(root: Path, **options: object) -> str | None:
    """The code of the error with which it refuses the data, if it does."""
    try:
        splits = open_splits(str(root), image_size=SIDE, **options)  # type: ignore[arg-type]
        splits.check()
    except SnowmeltError as error:
        return error.code
    return None


def path_of(root: Path, number: int, folder: str = "masks") -> Path:
    return root / ("train" if number < 6 else "val") / folder / f"{number:03d}.png"


def add_noise(mask: np.ndarray) -> np.ndarray:
    noisy = mask.copy()
    noisy[0, :6] = [90, 91, 92, 93, 94, 95]
    return noisy


def speckle(mask: np.ndarray) -> np.ndarray:
    mask[::3, ::3] = 5
    return mask


def save_as_jpeg(path: Path) -> None:
    Image.open(path).save(path.with_suffix(".jpg"))
    path.unlink()


SPOILT: dict[str, tuple[Spoil, str]] = {
    "no_mask": (lambda root: path_of(root, 1).unlink(), "001.png"),
    "no_image": (lambda root: path_of(root, 1, "images").unlink(), "001.png"),
    "same_stem": (lambda root: Image.open(path_of(root, 1)).save(path_of(root, 1).with_suffix(".gif")), "001.gif"),
    "bad_image": (lambda root: path_of(root, 7, "images").write_bytes(b"P5 none"), "007.png"),
    "bad_mask": (lambda root: save_as_jpeg(path_of(root, 7)), "007.jpg"),
    "other_size": (lambda root: change_mask(path_of(root, 2), lambda mask: mask[:-4]), "002.png"),
    "labels": (lambda root: change_mask(path_of(root, 3), lambda mask: np.where(mask == 0, 77, mask)), "003.png"),
    "noise": (lambda root: change_mask(path_of(root, 3), add_noise), "003.png"),
    "empty": (lambda root: change_mask(path_of(root, 4), np.zeros_like), "004.png"),
    "one_class": (lambda root: change_mask(path_of(root, 4), lambda mask: mask * 0 + 2), "004.png"),
    "ignored": (lambda root: change_mask(path_of(root, 4), lambda mask: mask * 0 + 255), "004.png"),
    "specks": (lambda root: change_mask(path_of(root, 4), speckle), "004.png"),
    "flat": (lambda root: Image.new("RGB", (SIDE, SIDE), (9, 9, 9)).save(path_of(root, 0, "images")), "000.png"),
    "equal_masks": (lambda root: path_of(root, 8).write_bytes(path_of(root, 7).read_bytes()), "008.png"),
}
CLASSES = ("background", "skin", "hair", "upper", "lower", "shoes")


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_spoilt_is_found_and_refused_where_training_refuses(kind: str, tmp_path: Path) -> None:
    write_scenes(tmp_path, COUNTS)
    before = kinds(looked_at(tmp_path, classes=CLASSES))
    assert training_takes(tmp_path, classes=CLASSES)
    spoil, name = SPOILT[kind]
    spoil(tmp_path)
    found = looked_at(tmp_path, classes=CLASSES)
    assert name in kinds(found)[kind]
    assert name not in before.get(kind, [])
    codes = [each.code for each in found.findings if each.level == "error"]
    assert codes == [code for code in [refused_by_training(tmp_path, classes=CLASSES)] if code]
    assert all(each.code == "" for each in found.findings if each.level != "error")
    assert all(each.what and each.advice for each in found.findings)


def test_a_sound_set_is_counted_to_the_pixel(tmp_path: Path) -> None:
    write_scenes(tmp_path, COUNTS)
    found = looked_at(tmp_path).to_dict()
    assert found["sound"]
    assert [(row["name"], row["images"], row["masks"]) for row in found["splits"]] == [("train", 6, 6), ("val", 3, 3)]
    assert found["splits"][0]["width"] == {"min": SIDE, "median": SIDE, "max": SIDE}
    scenes = ScenesSource(9, 5, SIDE, "parts")
    masks = np.stack([scenes.load(index).mask for index in range(9)])
    for each in found["classes"]:
        for split, part in (("train", masks[:6]), ("val", masks[6:])):
            here = part == each["id"]
            counts = each["splits"][split]
            assert counts["pixels"] == here.sum()
            assert counts["images"] == here.any(axis=(1, 2)).sum()
            shares = here.mean(axis=(1, 2))
            assert counts["share_of_image"] == pytest.approx(shares.mean(), abs=1e-6)
            assert counts["standard_error"] == pytest.approx(shares.std(ddof=1) / np.sqrt(len(part)), abs=1e-6)
    json.dumps(found)


def test_black_and_white_masks_are_two_classes_and_nothing_is_ignored(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"": 6}, "binary")
    for path in sorted((tmp_path / "masks").iterdir()):
        change_mask(path, lambda mask: mask * 255)
    change_mask(tmp_path / "masks/000.png", lambda mask: mask * 0 + 255)
    found = looked_at(tmp_path)
    assert found.meaning.classes == ("background", "foreground")
    assert kinds(found)["one_class"] == ["000.png"]
    content = found.to_dict()
    assert content["classes"][1]["splits"]["train"]["pixels"] > 0
    assert all(counts["pixels"] == 0 for counts in content["ignored"].values())
    change_mask(tmp_path / "masks/001.png", lambda mask: np.where(mask == 0, 3, mask))
    noisy = looked_at(tmp_path)
    assert not noisy.sound
    assert not training_takes(tmp_path)


def test_grey_levels_all_over_are_told_for_the_noise_that_they_are(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"": 4}, "binary")
    for path in (tmp_path / "masks").iterdir():
        change_mask(path, lambda mask: add_noise(mask * 255))
    [error] = [each for each in looked_at(tmp_path).findings if each.level == "error"]
    assert error.kind == "labels"
    assert len(error.items) == 4
    assert "JPEG" in error.advice
    assert not training_takes(tmp_path)


def test_labels_that_are_no_ids_are_told_with_the_masks_that_hold_them(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"": 5}, "binary")
    change_mask(tmp_path / "masks/003.png", lambda mask: mask * 77)
    found = looked_at(tmp_path)
    [error] = [each for each in found.findings if each.level == "error"]
    assert [(Path(item.file).name, item.detail) for item in error.items] == [("003.png", "value 77")]
    assert not {"never", "absent"} & set(kinds(found))  # values that mean nothing are missed nowhere
    assert [each["name"] for each in found.to_dict()["classes"]] == ["value 0", "value 1", "value 77"]
    for number in range(5):  # no value is missing, and yet they are hardly ids
        grey = (np.arange(SIDE * SIDE) % 70).reshape(SIDE, SIDE).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / f"masks/{number:03d}.png")
    [error] = [each for each in looked_at(tmp_path).findings if each.level == "error"]
    assert {item.detail for item in error.items} == {"values 1, 2, 3, 4, 5, ..."}
    assert len(error.items) == 5


def test_images_are_set_apart_as_training_does_it(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"": 9})
    found = looked_at(tmp_path)
    splits = open_splits(str(tmp_path))
    names = {Path(found.tally.image_path(row)).name for row in np.flatnonzero(found.tally.splits == "val")}
    assert found.set_apart
    assert names == {splits.val.name(index) for index in range(len(splits.val))}
    assert found.count("train") == len(splits.train)


def test_copies_are_found_within_and_across_splits(tmp_path: Path) -> None:
    write_scenes(tmp_path, COUNTS)
    Image.open(path_of(tmp_path, 0, "images")).save(path_of(tmp_path, 8, "images"), compress_level=0)
    path_of(tmp_path, 2, "images").write_bytes(path_of(tmp_path, 1, "images").read_bytes())
    path_of(tmp_path, 2).write_bytes(path_of(tmp_path, 1).read_bytes())
    Image.open(path_of(tmp_path, 3, "images")).save(path_of(tmp_path, 7, "images").with_suffix(".jpg"), quality=70)
    path_of(tmp_path, 7, "images").unlink()
    found = kinds(looked_at(tmp_path))
    assert found["duplicate_across"] == ["008.png"]
    assert found["duplicate_within"] == ["002.png"]
    assert found["near_duplicate_across"] == ["007.jpg"]
    assert "near_duplicate_within" not in found
    assert "equal_masks" not in found  # the mask of a copy may be a copy


def test_large_jpegs_that_agree_when_reduced_are_compared_whole(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"": 4})
    picture = ScenesSource(1, 9, 600).load(0).image
    for number in (0, 1, 2):
        Image.fromarray(picture).save(tmp_path / "images" / f"{number:03d}.jpg", quality=90)
        (tmp_path / "images" / f"{number:03d}.png").unlink()
        change_mask(
            tmp_path / "masks" / f"{number:03d}.png",
            lambda mask: np.kron(mask, np.ones((10, 10), np.uint8))[:600, :600],
        )
    found = kinds(looked_at(tmp_path))
    assert [name for kind in ("duplicate_within", "duplicate_across") for name in found.get(kind, [])]
    assert not [kind for kind in found if kind.startswith("near")]


def test_large_jpegs_that_differ_only_when_whole_are_not_the_same(tmp_path: Path) -> None:
    """A JPEG that is decoded at a quarter leaves out even frequencies of its 8 x 8 blocks."""
    write_scenes(tmp_path, {"": 4})
    wave = np.cos((2 * np.arange(1024) % 16 + 1) * 6 * np.pi / 16)
    for number, strength in ((0, 0), (1, 60)):
        grey = np.rint(128 + strength * np.outer(wave, wave)).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / "images" / f"{number:03d}.jpg", quality=90)
        (tmp_path / "images" / f"{number:03d}.png").unlink()
        change_mask(tmp_path / "masks" / f"{number:03d}.png", lambda mask: np.kron(mask, np.ones((16, 16), np.uint8)))
    found = looked_at(tmp_path)
    assert found.tally.rows["pixels"][0] == found.tally.rows["pixels"][1]
    assert not [kind for kind in kinds(found) if kind.startswith("duplicate")]


def test_a_split_without_a_class_or_with_quite_another_share_is_told(tmp_path: Path) -> None:
    write_scenes(tmp_path, {"train": 8, "val": 8})
    for number in range(8, 16):
        path = tmp_path / "val" / "masks" / f"{number:03d}.png"
        change_mask(path, lambda mask: np.where(mask == 2, 0, mask))
        change_mask(path, lambda mask: np.concatenate([np.full((40, SIDE), 3, np.uint8), mask[40:]]))
    found = {each.kind: each.what for each in looked_at(tmp_path).findings}
    assert found["absent"] == "in no image of val: class_2"
    assert found["uneven"].startswith("val is not like train: ")
    assert "class_3" in found["uneven"]


def test_one_image_is_a_split_that_chance_explains(tmp_path: Path) -> None:
    """Of one image nothing tells how much images differ, so those of train have to."""
    write_scenes(tmp_path, {"train": 8, "val": 1})
    for number in range(8):
        rows = 8 * number
        change_mask(
            tmp_path / "train" / "masks" / f"{number:03d}.png",
            lambda mask, rows=rows: np.concatenate([np.full((rows, SIDE), 2, np.uint8), mask[rows:] * 0]),
        )
    change_mask(
        tmp_path / "val" / "masks" / "008.png",
        lambda mask: np.concatenate([np.full((60, SIDE), 2, np.uint8), mask[60:] * 0]),
    )
    assert "uneven" not in {each.kind for each in looked_at(tmp_path).findings}


def test_scenes_are_sound() -> None:
    found = looked_at("scenes:8")
    assert found.sound
    assert [(name, found.count(name)) for name in ("train", "val", "test")] == [("train", 8), ("val", 4), ("test", 4)]


def test_a_data_set_without_any_layout_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="holds neither"):
        looked_at(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(SnowmeltError, match=r"for the masks; put them there or set data\.mask_folder$"):
        looked_at(tmp_path)
    for inner in ("images/train", "images/test", "parts/train", "people/train", "empty/train"):
        (tmp_path / inner).mkdir(parents=True)
    for name in ("images/train/a.png", "parts/train/a.png", "people/train/a.png"):
        Image.new("L", (SIDE, SIDE)).save(tmp_path / name)
    with pytest.raises(SnowmeltError, match=r"masks/t.*: no .* set data\.mask_folder \(there is parts, people\)$"):
        looked_at(tmp_path)
