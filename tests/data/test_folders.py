from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from data_files import WriteFolder, save_image, save_mask
from PIL import Image

from snowmelt.data import file_memory
from snowmelt.data.folders import open_folder
from snowmelt.data.images import read_image
from snowmelt.errors import SnowmeltError


def test_a_flat_folder_pairs_by_stem(tmp_path: Path) -> None:
    for stem, suffix in (("b", ".png"), ("a", ".JPG"), ("c.d", ".bmp")):
        save_image(tmp_path / "images" / f"{stem}{suffix}")
        save_mask(tmp_path / "masks" / f"{stem}.png")
    save_mask(tmp_path / "masks" / "unused.png")
    (tmp_path / "images" / "notes.txt").write_text("passed over")
    (tmp_path / "images" / "._a.JPG").write_text("passed over too")
    source = open_folder(tmp_path)["train"]
    assert [source.name(index) for index in range(len(source))] == ["a.JPG", "b.png", "c.d.bmp"]
    assert source.classes == ("background", "foreground")
    source.check()
    sample = source.load(1)
    assert sample.name == "b.png"
    np.testing.assert_array_equal(sample.image, read_image(tmp_path / "images" / "b.png"))
    np.testing.assert_array_equal(sample.mask[0], [0] * 6 + [1] * 6)
    assert "3 images" in source.describe() and "foreground" in source.describe()


@pytest.mark.parametrize("inner", [False, True])
def test_splits_in_either_order(tmp_path: Path, inner: bool) -> None:
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for index in range(count):
            for kind, save in (("photos", save_image), ("labels", save_mask)):
                folder = tmp_path / kind / split if inner else tmp_path / split / kind
                save(folder / f"{index}.png")
    found = open_folder(tmp_path, image_folder="photos", mask_folder="labels")
    assert {split: len(source) for split, source in found.items()} == {"train": 3, "val": 2, "test": 1}
    save_image(tmp_path / ("train/photos" if inner else "photos/train") / "0.png")
    with pytest.raises(SnowmeltError, match="keep one layout"):
        open_folder(tmp_path, image_folder="photos", mask_folder="labels")


def test_the_meaning_of_white_is_decided_over_all_splits(tmp_path: Path) -> None:
    """A validation set of background and ignored pixels must not turn the ignored ones into foreground."""
    for split, values in (("train", (0, 1, 255)), ("val", (0, 255))):
        save_image(tmp_path / split / "images" / "a.png")
        save_mask(tmp_path / split / "masks" / "a.png", values)
    assert set(np.unique(open_folder(tmp_path)["val"].load(0).mask)) == {0, 255}
    save_mask(tmp_path / "train" / "masks" / "a.png", (0, 255))
    assert set(np.unique(open_folder(tmp_path)["val"].load(0).mask)) == {0, 1}


@pytest.mark.parametrize("place", ["masks", "."])
def test_classes_file_beside_the_masks_or_in_the_folder(write_folder: WriteFolder, place: str) -> None:
    root = write_folder(values=(0, 2))
    (root / place / "classes.txt").write_text("sky\nkite\nbird\n")
    assert open_folder(root)["train"].classes == ("sky", "kite", "bird")
    assert open_folder(root, classes=("x", "y", "z"))["train"].classes == ("x", "y", "z")
    (root / "masks" / "classes.txt").write_text("a\nb\nc\n")  # the nearer one wins
    assert open_folder(root)["train"].classes == ("a", "b", "c")


def test_classes_file_above_a_split(tmp_path: Path) -> None:
    for split in ("train", "val"):
        save_image(tmp_path / "images" / split / "a.png")
        save_mask(tmp_path / "parts" / split / "a.png", (0, 2))
    (tmp_path / "parts" / "classes.txt").write_text("sky\nkite\nbird\n")
    assert open_folder(tmp_path, mask_folder="parts")["val"].classes == ("sky", "kite", "bird")
    (tmp_path / "parts" / "val" / "classes.txt").write_text("sky\nkite\nplane\n")
    with pytest.raises(SnowmeltError, match="name different classes"):
        open_folder(tmp_path, mask_folder="parts")


def test_default_classes_yield_to_a_classes_file(write_folder: WriteFolder) -> None:
    root = write_folder(values=(0, 2))
    assert open_folder(root, default_classes=("a", "b", "c"))["train"].classes == ("a", "b", "c")
    (root / "classes.txt").write_text("sky\nkite\nbird\n")
    assert open_folder(root, default_classes=("a", "b", "c"))["train"].classes == ("sky", "kite", "bird")


def test_missing_masks_name_the_first_few(write_folder: WriteFolder) -> None:
    root = write_folder(count=6)
    for index in (1, 2, 4, 5):
        (root / "masks" / f"img{index}.png").unlink()
    with pytest.raises(SnowmeltError, match=r"img1\.png.*img2\.png.*img4\.png, \.\.\.: 4 of 6 images have no mask"):
        open_folder(root)


@pytest.mark.parametrize("kind", ["images", "masks"])
def test_two_files_of_one_stem(write_folder: WriteFolder, kind: str) -> None:
    root = write_folder()
    save_image(root / kind / "img1.bmp")
    with pytest.raises(SnowmeltError, match=rf"{kind}: img1\.bmp and img1\.png share one stem"):
        open_folder(root)


def test_empty_and_absent_folders(tmp_path: Path, write_folder: WriteFolder) -> None:
    with pytest.raises(SnowmeltError, match="holds neither images/ nor train/images/"):
        open_folder(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(SnowmeltError, match="masks: no such folder"):
        open_folder(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(SnowmeltError, match="images: holds no images"):
        open_folder(tmp_path)
    root = write_folder()
    shutil.move(root / "images", root / "val" / "images")
    shutil.move(root / "masks", root / "val" / "masks")
    assert list(open_folder(root)) == ["val"]  # whether training images are needed is for whoever asks


def test_check_names_the_bad_file_and_counts_the_others(write_folder: WriteFolder) -> None:
    root = write_folder(count=4)
    source = open_folder(root)["train"]
    source.check()
    for index in (1, 3):
        path = root / "images" / f"img{index}.png"
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SnowmeltError, match=r"img1\.png: damaged or truncated.*\(and 1 more bad file\)"):
        source.check()
    with pytest.raises(SnowmeltError, match=r"img3\.png"):
        source.load(3)


def test_a_mask_of_another_size_names_both_files(write_folder: WriteFolder) -> None:
    root = write_folder()
    save_mask(root / "masks" / "img2.png", width=11)
    source = open_folder(root)["train"]
    for action in (source.check, lambda: source.load(2)):
        with pytest.raises(SnowmeltError, match=r"masks/img2\.png: .*11 x 8.*images/img2\.png.*12 x 8"):
            action()


def test_a_mask_in_the_sensors_orientation_is_refused_and_an_upright_one_taken(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save_image(tmp_path / "images" / "a.jpg")
    Image.open(path).save(path, exif=exif)
    save_mask(tmp_path / "masks" / "a.png", height=8, width=12)
    with pytest.raises(SnowmeltError, match=r"masks/a\.png.*12 x 8.*images/a\.jpg.*EXIF orientation\) is 8 x 12"):
        open_folder(tmp_path)["train"].check()
    save_mask(tmp_path / "masks" / "a.png", height=12, width=8)
    source = open_folder(tmp_path)["train"]
    source.check()
    assert source.load(0).image.shape == (12, 8, 3)


def test_an_unknown_label_is_found_by_check(write_folder: WriteFolder) -> None:
    root = write_folder(values=(0, 2))
    (root / "classes.txt").write_text("sky\nkite\nbird\n")
    save_mask(root / "masks" / "img2.png", (0, 9))
    with pytest.raises(SnowmeltError, match=r"img2\.png: label 9 is none of the classes"):
        open_folder(root)["train"].check()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pictures and masks that are read while the test runs."""
    seen: list[str] = []

    def watched(name: str) -> None:
        real = getattr(file_memory, name)
        monkeypatch.setattr(
            file_memory, name, lambda path: (seen.append(f"{path.parent.name}/{path.name}"), real(path))[1]
        )

    for name in ("probe_image", "file_digest", "find_mask"):
        watched(name)
    return seen


@pytest.mark.parametrize("values", [(0, 1), (0, 255)])
def test_no_unchanged_file_is_read_twice(
    write_folder: WriteFolder, tmp_path: Path, reads: list[str], values: tuple[int, ...]
) -> None:
    root = write_folder(count=3, values=values)
    plain = open_folder(root)["train"]
    for again in (False, True):
        reads.clear()
        source = open_folder(root, index_folder=tmp_path / "index")["train"]
        source.check()
        assert source.labels == plain.labels
        assert [source.digest(index) for index in range(3)] == [plain.digest(index) for index in range(3)]
        source._memory.save()
        read = reads[: len(reads) - 3]  # the plain source's digests aside
        assert sorted(set(read)) == (
            [] if again else [f"{kind}/img{i}.png" for kind in ("images", "masks") for i in range(3)]
        )
        np.testing.assert_array_equal(source.load(1).mask, plain.load(1).mask)


def test_a_changed_mask_changes_what_labels_mean(write_folder: WriteFolder, tmp_path: Path, reads: list[str]) -> None:
    root = write_folder(count=3, values=(0, 255))
    assert open_folder(root, index_folder=tmp_path / "index")["train"].labels.white_is_foreground
    reads.clear()
    save_mask(root / "masks" / "img1.png", (0, 1, 255))
    changed = open_folder(root, index_folder=tmp_path / "index")["train"]
    assert reads == ["masks/img1.png"] and not changed.labels.white_is_foreground
    assert set(np.unique(changed.load(0).mask)) == {0, 255}


def test_labels_that_are_remembered_are_judged_by_the_classes_of_today(
    write_folder: WriteFolder, tmp_path: Path
) -> None:
    root = write_folder(values=(0, 2))
    for classes, wrong in (("a", "b", "c"), None), (("x", "y"), "img0.png: label 2 is none of the classes 0 x, 1 y"):
        source = open_folder(root, classes=classes, index_folder=tmp_path / "index")["train"]
        if wrong is None:
            source.check()
            continue
        with pytest.raises(SnowmeltError, match=wrong):
            source.check()


def test_a_masks_digest_is_of_its_file_and_meaning(write_folder: WriteFolder) -> None:
    ids, white = (open_folder(write_folder(f"{values}", 2, values))["train"] for values in ((0, 1), (0, 255)))
    mixed = open_folder(write_folder("mixed", 2, (0, 255)), classes=("a", "b", "c"))["train"]
    assert len({ids.mask_digest(0), white.mask_digest(0), mixed.mask_digest(0)}) == 3
    assert ids.mask_digest(0) == ids.mask_digest(1)  # equal files
    assert int(ids.mask_digest(0), 16)


def test_a_reduced_picture_comes_with_the_whole_mask(tmp_path: Path) -> None:
    save_image(tmp_path / "images" / "a.jpg", height=80, width=120)
    save_mask(tmp_path / "masks" / "a.png", height=80, width=120)
    source = open_folder(tmp_path)["train"]
    sample = source.load_reduced(0, 30)
    assert sample.image.shape == (20, 30, 3) and sample.name == "a.jpg"
    np.testing.assert_array_equal(sample.mask, source.load(0).mask)
    save_mask(tmp_path / "masks" / "a.png", height=80, width=121)
    with pytest.raises(SnowmeltError, match=r"121 x 80.*120 x 80"):
        source.load_reduced(0, 30)


def test_a_source_travels_with_names_alone(write_folder: WriteFolder, tmp_path: Path) -> None:
    source = open_folder(write_folder(count=4), index_folder=tmp_path / "index")["train"]
    copy = pickle.loads(pickle.dumps(source))
    assert list(copy.pairs) == list(source.pairs) and list(source.pairs[1:3]) == list(source.pairs)[1:3]
    assert copy.digest(2) == source.digest(2)
