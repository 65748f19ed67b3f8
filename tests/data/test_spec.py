from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_files import WriteFolder, save_image, save_mask

from snowmelt.data.folders import FolderSource
from snowmelt.data.samples import SubsetSource
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.spec import (
    DEFAULT_SCENES,
    CocoSpec,
    FolderSpec,
    ScenesSpec,
    open_second,
    open_splits,
    parse_spec,
    split_by_name,
)
from snowmelt.errors import SnowmeltError


def names(source: object) -> list[str]:
    return [source.name(index) for index in range(len(source))]  # type: ignore[attr-defined,arg-type]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("scenes", ScenesSpec(DEFAULT_SCENES, "binary")),
        ("scenes:12", ScenesSpec(12, "binary")),
        ("scenes-parts:7", ScenesSpec(7, "parts")),
        ("coco:a/b:c.json", CocoSpec(Path("a/b"), Path("c.json"), ())),
        ("coco:a:c.json:person,traffic light", CocoSpec(Path("a"), Path("c.json"), ("person", "traffic light"))),
    ],
)
def test_specs(text: str, spec: object) -> None:
    assert parse_spec(text) == spec


def test_a_folder_spec(tmp_path: Path) -> None:
    assert parse_spec(str(tmp_path)) == FolderSpec(tmp_path)


@pytest.mark.parametrize("text", ["scenes:", "scenes:0", "scenes:-1", "scenes:ten", "scenes:²"])
def test_bad_counts(text: str) -> None:
    if text == "scenes:":
        assert parse_spec(text) == ScenesSpec(DEFAULT_SCENES, "binary")
        return
    with pytest.raises(SnowmeltError, match="no number of scenes"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["coco", "coco:", "coco:images", "coco::x.json", "coco:a:b.json:person,,dog"])
def test_bad_coco_specs(text: str) -> None:
    with pytest.raises(SnowmeltError, match=r"coco:IMAGES:JSON|category between the commas"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["", "nowhere/at/all", "scene:5"])
def test_what_does_not_exist_is_answered_with_the_forms(text: str) -> None:
    with pytest.raises(SnowmeltError, match=r"scenes\[:N\].*images/ and masks/.*coco:IMAGES:JSON") as caught:
        parse_spec(text)
    assert "\n" not in str(caught.value)


def test_scenes_of_the_splits_are_disjoint() -> None:
    splits = open_splits("scenes-parts:50", seed=5, image_size=32, val_fraction=0.2)
    sources = (splits.train, splits.val, splits.test)
    assert [len(source) for source in sources if source is not None] == [50, 10, 10]
    assert len({name for source in sources for name in names(source)}) == 70
    assert splits.classes[1:] == ("skin", "hair", "upper", "lower", "shoes")
    assert splits.train.load(0).image.shape == (32, 32, 3)
    assert "validation: 10" in splits.note and "test: 10 images" in splits.note
    splits.check()


def test_a_flat_folder_is_split_by_name_and_the_note_says_so(write_folder: WriteFolder) -> None:
    root = write_folder(count=10)
    splits = open_splits(str(root), val_fraction=0.3, seed=1)
    assert len(splits.train) == 7 and len(splits.val) == 3 and splits.test is None
    assert sorted(names(splits.train) + names(splits.val)) == [f"img{index}.png" for index in range(10)]
    assert "3 of 10 images (fraction 0.3)" in splits.note and "seed 1" in splits.note and "no test" in splits.note
    again = open_splits(str(root), val_fraction=0.3, seed=1)
    assert names(again.val) == names(splits.val)
    assert any(names(open_splits(str(root), val_fraction=0.3, seed=seed).val) != names(again.val) for seed in (2, 3))


def test_more_images_hardly_change_who_validates(write_folder: WriteFolder) -> None:
    before = set(names(open_splits(str(write_folder("a", count=30)), val_fraction=0.3).val))
    after = set(names(open_splits(str(write_folder("b", count=31)), val_fraction=0.3).val))
    assert len(before & after) >= 8


@pytest.mark.parametrize(("count", "fraction", "held_out"), [(2, 0.01, 1), (2, 0.99, 1), (3, 0.5, 2), (10, 0.1, 1)])
def test_each_side_of_a_split_keeps_an_image(count: int, fraction: float, held_out: int) -> None:
    rest, chosen = split_by_name(ScenesSource(count, 0, 32), fraction, seed=0)
    assert (len(rest), len(chosen)) == (count - held_out, held_out)
    np.testing.assert_array_equal(chosen.load(0).image, chosen.source.load(chosen.indices[0]).image)


def test_a_single_image_cannot_be_split(write_folder: WriteFolder) -> None:
    with pytest.raises(SnowmeltError, match=r"data/images.*too few images"):
        open_splits(str(write_folder(count=1)))


def test_the_folders_own_validation_and_test(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for index in range(count):
            save_image(tmp_path / split / "images" / f"{index}.png")
            save_mask(tmp_path / split / "masks" / f"{index}.png")
    splits = open_splits(str(tmp_path))
    assert isinstance(splits.val, FolderSource) and splits.test is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (4, 2, 1)
    assert "val" in splits.note and "test: 1 images" in splits.note
    splits.check()
    (tmp_path / "test" / "masks" / "0.png").write_bytes(b"x")
    with pytest.raises(SnowmeltError, match=r"test/masks/0\.png"):
        splits.check()


def test_a_second_spec_takes_precedence(write_folder: WriteFolder) -> None:
    splits = open_splits(str(write_folder("a", count=4)), val=str(write_folder("b", count=2, prefix="other")))
    assert not isinstance(splits.train, SubsetSource)
    assert names(splits.val) == ["other0.png", "other1.png"] and len(splits.train) == 4
    assert "2 images of" in splits.note


def test_a_second_folder_takes_the_names_of_the_first(write_folder: WriteFolder) -> None:
    first = write_folder("a", values=(0, 2))
    (first / "classes.txt").write_text("sky\nkite\nbird\n")
    second = write_folder("b", values=(0, 1))  # which alone would be background and foreground
    assert open_splits(str(first), val=str(second)).val.classes == ("sky", "kite", "bird")
    (second / "classes.txt").write_text("sky\nkite\nplane\n")
    with pytest.raises(SnowmeltError, match=r"sky, kite, bird, but sky, kite, plane stand in .*b/images"):
        open_splits(str(first), val=str(second))


def test_white_foreground_validates_ids(write_folder: WriteFolder) -> None:
    splits = open_splits(str(write_folder("a", values=(0, 1))), val=str(write_folder("b", values=(0, 255))))
    assert set(np.unique(splits.val.load(0).mask)) == {0, 1}


def test_coco_splits_and_classes(coco: Callable[..., tuple[Path, Path]], write_folder: WriteFolder) -> None:
    folder, path = coco()
    spec = f"coco:{folder}:{path}"
    splits = open_splits(f"{spec}:dog", val=f"{spec}:dog")
    assert splits.classes == ("background", "dog")
    with pytest.raises(SnowmeltError, match="background, dog, but background, person"):
        open_splits(f"{spec}:dog", val=f"{spec}:person")
    masks = str(write_folder(values=(0, 1)))
    assert open_splits(f"{spec}:dog", val=masks).val.classes == ("background", "dog")
    with pytest.raises(SnowmeltError, match="background, foreground, but background, dog"):
        open_splits(masks, val=f"{spec}:dog")
    assert open_splits(masks, val=f"{spec}:dog", classes=["background", "dog"]).classes == ("background", "dog")
    with pytest.raises(SnowmeltError, match="classes a, b were asked for"):
        open_splits(f"{spec}:dog", classes=["a", "b"])


@pytest.mark.parametrize("fraction", [0, 1, -0.1, float("nan")])
def test_impossible_fractions(fraction: float) -> None:
    with pytest.raises(SnowmeltError, match="val_fraction"):
        open_splits("scenes:8", val_fraction=fraction)


def test_a_second_data_set_gives_its_test_part_else_validation_else_everything(write_folder: WriteFolder) -> None:
    scenes, part = open_second("scenes:50", ("background", "person"), image_size=32)
    assert (part, len(scenes)) == ("test", 5)
    assert names(scenes) == names(open_splits("scenes:50", image_size=32).test)

    known = ("ground", "thing")
    everything, part = open_second(str(write_folder(count=5)), known)
    assert (part, len(everything), everything.classes) == ("all", 5, known)

    root = write_folder("split", count=4)
    for folder in ("images", "masks"):
        (root / folder / "val").mkdir()
        (root / folder / "img0.png").rename(root / folder / "val" / "img0.png")
        (root / folder / "train").mkdir()
        for file in (root / folder).glob("*.png"):
            file.rename(root / folder / "train" / file.name)
    validation, part = open_second(str(root), known)
    assert (part, len(validation)) == ("val", 1)
    rest, part = open_second(str(root), known, part="train")
    assert (part, names(rest)) == ("train", ["img1.png", "img2.png", "img3.png"])
    with pytest.raises(SnowmeltError, match="has only train and val, so it has no test part; leave the part out"):
        open_second(str(root), known, part="test")
    with pytest.raises(SnowmeltError, match="is not split, so it has no val part"):
        open_second(str(write_folder(count=5)), known, part="val")


def test_a_second_data_set_with_other_classes_is_refused_with_those_that_differ(write_folder: WriteFolder) -> None:
    root = write_folder(count=2)
    (root / "classes.txt").write_text("ground\nthing\n")
    with pytest.raises(SnowmeltError, match="it lacks dog; it also has thing; give a data set with ground, dog"):
        open_second(str(root), ("ground", "dog"))
    with pytest.raises(SnowmeltError, match="they stand in another order"):
        open_second(str(root), ("thing", "ground"))


def test_a_folder_with_a_test_part_alone_can_be_scored_on_but_not_trained_on(write_folder: WriteFolder) -> None:
    root = write_folder(count=3)
    for kind in ("images", "masks"):
        (root / "test").mkdir(exist_ok=True)
        shutil.move(root / kind, root / "test" / kind)
    found, part = open_second(str(root), ("background", "foreground"))
    assert (part, len(found)) == ("test", 3)
    with pytest.raises(SnowmeltError, match=r"has test/ but no train/; point at a folder that has train/"):
        open_splits(str(root))
    with pytest.raises(SnowmeltError, match=r"has test/ but no val/ nor train/; point at .* val or train/"):
        open_splits("scenes:20", val=str(root))
