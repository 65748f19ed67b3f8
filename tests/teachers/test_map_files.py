"""Stored answers are found by stem, told apart, and read as logits; what is no answer is refused by name."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from snowmelt.errors import SnowmeltError
from snowmelt.teachers import map_files
from snowmelt.teachers.maps import SAMPLE, MapFiles, open_maps
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, TeacherModel

TWO = ("background", "person")
FOUR = ("background", "hair", "skin", "shirt")


def logits(channels: int, seed: int = 0, size: tuple[int, int] = (6, 9)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3, (channels, *size)).astype(np.float32)


def softmax(values: np.ndarray) -> np.ndarray:
    odds = np.exp(values - values.max(0))
    return odds / odds.sum(0)


def save(folder: Path, **maps: Any) -> Path:
    """Arrays as NPY; pictures as PNG."""
    folder.mkdir(exist_ok=True)
    for name, content in maps.items():
        if isinstance(content, Image.Image):
            content.save(folder / f"{name}.png")
        else:
            np.save(folder / f"{name}.npy", content)
    return folder


def grey(values: Any) -> Image.Image:
    return Image.fromarray(np.asarray(values, dtype=np.uint8))


def open_(folder: Path, classes: tuple[str, ...] = FOUR, **options: Any) -> MapFiles:
    return open_maps(str(folder), OpenOptions(classes, **options))


def test_logits_come_back_as_they_are(tmp_path: Path) -> None:
    stored = {f"p{index}": logits(4, index) for index in range(3)}
    maps = open_(save(tmp_path, **stored))
    for name, values in stored.items():
        assert torch.equal(maps.read(f"{name}.jpg"), torch.from_numpy(values))
    assert maps.describe() == f"{tmp_path} (3 maps, NPY of 4 channels; outputs: logits)"
    assert isinstance(maps, StoredMaps)
    assert not isinstance(maps, TeacherModel)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("classes", [TWO, FOUR])
def test_probabilities_become_their_logarithms(tmp_path: Path, classes: tuple[str, ...], dtype: Any) -> None:
    stored = [softmax(logits(len(classes), seed)).astype(dtype) for seed in range(2)]
    maps = open_(save(tmp_path, a=stored[0], b=stored[1]), classes)
    assert "outputs: probabilities" in maps.describe()
    wanted = torch.from_numpy(np.log(stored[1].astype(np.float64))).float()
    torch.testing.assert_close(maps.read("b.png"), wanted, rtol=1e-5, atol=1e-5)
    assert maps.read("b.png").dtype == torch.float32


def test_one_channel_with_or_without_its_dimension(tmp_path: Path) -> None:
    values = logits(1)
    flat = open_(save(tmp_path / "flat", a=values[0]), TWO)
    deep = open_(save(tmp_path / "deep", a=values[None]), TWO)
    assert torch.equal(flat.read("a.jpg"), torch.from_numpy(values))
    assert torch.equal(deep.read("a.jpg"), torch.from_numpy(values))
    sure = open_(save(tmp_path / "sure", a=1 / (1 + np.exp(-values[0]))), TWO)
    torch.testing.assert_close(sure.read("a.jpg"), torch.from_numpy(values), rtol=0, atol=1e-4)


def test_the_kind_is_decided_once_for_the_folder(tmp_path: Path) -> None:
    # The first one alone lies within [0, 1] and would pass for probabilities.
    maps = open_(save(tmp_path, a=np.full((4, 4), 0.25, np.float32), b=logits(1)[0]), TWO)
    assert "outputs: logits" in maps.describe()
    assert maps.read("a.jpg").unique().tolist() == [0.25]
    forced = open_(save(tmp_path / "p", a=softmax(logits(4))), outputs="logits")
    torch.testing.assert_close(forced.read("a.jpg").sum(0), torch.ones(6, 9))


def test_channels_may_come_last_where_it_is_plain(tmp_path: Path) -> None:
    values = logits(4, size=(6, 9))
    last = np.moveaxis(values, 0, -1)
    assert torch.equal(open_(save(tmp_path / "a", a=last)).read("a.jpg"), torch.from_numpy(values))
    both = logits(4, size=(6, 4))  # both ends could count the classes: the first one does
    assert torch.equal(open_(save(tmp_path / "b", a=both)).read("a.jpg"), torch.from_numpy(both))
    # A teacher of other classes than the student's: the smallest side.
    assert open_(save(tmp_path / "c", a=last), TWO).read("a.jpg").shape == (4, 6, 9)
    assert open_(save(tmp_path / "d", a=values), TWO).read("a.jpg").shape == (4, 6, 9)
    with pytest.raises(SnowmeltError, match=r"a\.npy: of the shape \(6, 9, 6\) it is not plain"):
        open_(save(tmp_path / "e", a=logits(6, size=(9, 6))))


def confidences(values: torch.Tensor) -> torch.Tensor:
    """(H, W, K) probabilities of logits."""
    return (values.softmax(0) if len(values) > 1 else torch.cat([1 - values.sigmoid(), values.sigmoid()])).permute(
        1, 2, 0
    )


@pytest.mark.parametrize("suffix", ["png", "npy"])
def test_ids_of_classes_are_99_percent_sure(tmp_path: Path, suffix: str) -> None:
    ids = np.array([[0, 1, 2], [3, 255, 1]], np.uint8)
    maps = open_(save(tmp_path, a=grey(ids) if suffix == "png" else ids.astype(np.int64)))
    found = maps.read("a.jpg")
    assert found.shape == (4, 2, 3)
    wanted = torch.full((4, 4), 0.01 / 3)
    wanted.fill_diagonal_(0.99)
    torch.testing.assert_close(confidences(found)[torch.from_numpy(ids < 4)], wanted[ids[ids < 4].astype(int)])
    assert found[:, 1, 1].tolist() == [0] * 4  # unknown: no class is favoured
    assert maps.describe().endswith("(1 map, labels of 4 classes; outputs: labels, taken as 99% sure)")


TWO_CLASS_LABELS = {
    "0 and 1": (grey([[0, 1], [1, 0]]), [0, 1, 1, 0]),
    "0 and 255": (grey([[0, 255], [255, 0]]), [0, 1, 1, 0]),
    "0, 1 and unknown": (grey([[0, 1], [255, 0]]), [0, 1, None, 0]),
    "one bit": (grey([[0, 255], [255, 0]]).convert("1"), [0, 1, 1, 0]),
    "integers": (np.array([[0, 1], [1, 0]], np.int32), [0, 1, 1, 0]),
    "integers with a channel": (np.array([[[0, 1], [1, 0]]], np.int32), [0, 1, 1, 0]),
    "integers 0 and 255": (np.array([[0, 255], [255, 0]], np.uint8), [0, 1, 1, 0]),
    "booleans": (np.array([[False, True], [True, False]]), [0, 1, 1, 0]),
}


@pytest.mark.parametrize("name", TWO_CLASS_LABELS)
def test_labels_of_two_classes_are_one_channel(tmp_path: Path, name: str) -> None:
    content, wanted = TWO_CLASS_LABELS[name]
    found = open_(save(tmp_path, a=content), TWO).read("a.jpg")
    sure = math.log(0.99 / 0.01)
    values = [{0: -sure, 1: sure, None: 0.0}[each] for each in wanted]
    assert found.shape == (1, 2, 2)
    assert found.flatten().tolist() == pytest.approx(values, abs=1e-5)


def test_grey_levels_are_probabilities_of_class_1(tmp_path: Path) -> None:
    folder = save(tmp_path, a=grey([[0, 51], [204, 255]]), b=grey([[0, 255], [255, 0]]))
    maps = open_(folder, TWO)
    assert maps.describe().endswith("grey PNG; outputs: probabilities of class 1)")
    assert maps.read("a.jpg").sigmoid().flatten().tolist() == pytest.approx([1 / 510, 0.2, 0.8, 509 / 510])
    assert maps.read("b.jpg").sigmoid().flatten().tolist() == pytest.approx([1 / 510, 509 / 510, 509 / 510, 1 / 510])
    only = save(tmp_path / "only", b=grey([[0, 255], [255, 0]]))
    assert open_(only, TWO, outputs="probabilities").read("b.jpg").max().sigmoid() == pytest.approx(509 / 510)


def test_a_bilevel_file_among_grey_ones(tmp_path: Path) -> None:
    folder = save(tmp_path, a=grey([[0, 51], [204, 255]]), b=grey([[0, 255], [255, 0]]).convert("1"))
    assert open_(folder, TWO).read("b.jpg").sigmoid().flatten().tolist() == pytest.approx(
        [1 / 510, 509 / 510, 509 / 510, 1 / 510]
    )


def test_classes_txt_names_the_classes_of_the_maps(tmp_path: Path) -> None:
    folder = save(tmp_path, a=grey([[0, 3], [2, 1]]))
    (folder / "classes.txt").write_text("\n".join(FOUR))
    maps = open_(folder, TWO)  # for two, these would have been grey levels
    assert maps.classes == FOUR
    assert maps.read("a.jpg").argmax(0).tolist() == [[0, 3], [2, 1]]
    assert open_(save(tmp_path / "without", a=logits(4))).classes is None
    folder = save(tmp_path / "floats", a=logits(3))
    (folder / "classes.txt").write_text("\n".join(FOUR))
    with pytest.raises(SnowmeltError, match=r"classes\.txt: names 4 classes, but the maps have 3 channels"):
        open_(folder)


def test_pictures_find_their_maps(tmp_path: Path) -> None:
    folder = save(tmp_path, **{"one": logits(4, 1), "img.v2": logits(4, 2), "scene-000001": logits(4, 3)})
    save(folder / "train", one=logits(4, 4))
    maps = open_(folder)
    assert len(maps) == 4
    for name, seed in {
        "one.jpg": 1,
        "one.JPEG": 1,
        "one": 1,
        "val/one.png": 1,
        "train/one.png": 4,
        "img.v2.webp": 2,
        "img.v2": 2,
        "scene-000001": 3,
    }.items():
        assert maps.has(name)
        assert torch.equal(maps.read(name), torch.from_numpy(logits(4, seed))), name
    assert not maps.has("img.jpg")
    with pytest.raises(SnowmeltError, match=r"none of its 4 maps has the stem of two\.jpg"):
        maps.read("two.jpg")


def test_the_digest_is_of_content_and_meaning(tmp_path: Path) -> None:
    def digest(folder: str, classes: tuple[str, ...] = TWO, **maps: Any) -> str:
        return open_(save(tmp_path / folder, **maps), classes).digest

    ids = grey([[0, 1], [1, 0]])
    first = digest("a", p=ids, q=ids)
    assert digest("elsewhere", p=ids, q=ids) == first
    others = {
        digest("renamed", p=ids, r=ids),
        digest("swapped", p=grey([[1, 0], [1, 0]]), q=ids),
        digest("more", p=ids, q=ids, r=ids),
        digest("meaning", FOUR, p=ids, q=ids),
    }
    assert len(others | {first}) == 5
    assert len(first) == 16


def test_it_survives_pickling(tmp_path: Path) -> None:
    maps = open_(save(tmp_path, a=logits(4)))
    copy = pickle.loads(pickle.dumps(maps))
    assert torch.equal(copy.read("a.jpg"), maps.read("a.jpg"))
    assert copy.digest == maps.digest


def test_what_is_read_is_its_own_memory(tmp_path: Path) -> None:
    maps = open_(save(tmp_path, a=logits(4)))
    maps.read("a.jpg").zero_()
    assert torch.equal(maps.read("a.jpg"), torch.from_numpy(logits(4)))
    labels = open_(save(tmp_path / "ids", a=grey([[0, 3], [2, 1]])))
    labels.read("a.jpg").zero_()
    assert labels.read("a.jpg").argmax(0).tolist() == [[0, 3], [2, 1]]


def refusal(folder: Path, classes: tuple[str, ...] = FOUR, name: str | None = None, **options: Any) -> str:
    with pytest.raises(SnowmeltError) as error:
        maps = open_(folder, classes, **options)
        maps.read(name or "a.jpg")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_folders_that_are_no_maps(tmp_path: Path) -> None:
    assert "there is no such folder" in refusal(tmp_path / "none")
    assert "holds no maps" in refusal(save(tmp_path / "empty"))
    assert "a.npy and a.png share one stem" in refusal(save(tmp_path / "twice", a=logits(4)) and _both(tmp_path))
    mixed = save(tmp_path / "mixed", a=logits(4), b=grey([[0]]))
    assert "holds .npy and .png files" in refusal(mixed)


def _both(tmp_path: Path) -> Path:
    grey([[0]]).save(tmp_path / "twice" / "a.png")
    return tmp_path / "twice"


NO_MAPS: dict[str, tuple[Any, str]] = {
    "objects": (np.array([{"a": 1}], dtype=object), "cannot be read as an NPY array"),
    "complex": (np.zeros((4, 5, 5), np.complex64), "holds complex64"),
    "text": (np.array(["a"]), "holds <U1"),
    "one-dimensional": (np.zeros(4, np.float32), r"shape (4,)"),
    "a batch": (np.zeros((2, 4, 5, 5), np.float32), r"shape (2, 4, 5, 5)"),
    "integers of several channels": (np.zeros((4, 5, 5), np.uint8), "holds uint8 of shape (4, 5, 5)"),
    "no pixels": (np.zeros((4, 0, 5), np.float32), "a.npy: "),
    "labels as floats": (np.array([[0, 1], [2, 0]], np.float32), "whole numbers (0 to 2)"),
    "NaN": (np.full((4, 5, 5), np.nan, np.float32), "a.npy: gives NaN"),
    "an id too high": (np.array([[0, 4]], np.uint8), "a.npy: holds the id 4, but the ids must be 0 to 3"),
    "a negative id": (np.array([[0, -1]]), "a.npy: holds the id -1"),
    "a PNG's id": (grey([[0, 9]]), "a.png: holds the id 9"),
}


@pytest.mark.parametrize("name", NO_MAPS)
def test_files_that_are_no_maps(tmp_path: Path, name: str) -> None:
    content, reason = NO_MAPS[name]
    assert reason in refusal(save(tmp_path, a=content))


def test_damaged_files(tmp_path: Path) -> None:
    folder = save(tmp_path, a=logits(4))
    whole = (folder / "a.npy").read_bytes()
    heads = (b"{'descr': [(\n", b"'" * 3, b"{" * 9000)
    headless = [whole[:8] + len(head).to_bytes(2, "little") + head for head in heads]
    for content in (whole[:-40], whole[:20], b"", b"nonsense", b"PK\x03\x04", pickle.dumps({"a": 1}), *headless):
        (folder / "a.npy").write_bytes(content)
        assert "a.npy: cannot be read as an NPY" in refusal(folder)
    with (folder / "a.npy").open("wb") as file:
        np.savez(file, a=logits(4))
    assert "a.npy: cannot be read as an NPY" in refusal(folder)
    picture = save(tmp_path / "pictures", a=grey([[0, 1]])) / "a.png"
    picture.write_bytes(picture.read_bytes()[:30])
    assert "a.png: " in refusal(picture.parent)


def test_absurd_sizes_are_refused_before_data_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_files, "MAX_PIXELS", 50)
    assert "no map of a picture" in refusal(save(tmp_path, a=logits(4, size=(6, 9))))
    with (tmp_path / "a.npy").open("wb") as file:  # terabytes, says the header
        header = {"descr": "<f4", "fortran_order": False, "shape": (4, 10**6, 10**6)}
        np.lib.format.write_array_header_1_0(file, header)
    assert "cannot be read as an NPY" in refusal(tmp_path)


def test_a_file_unlike_the_others(tmp_path: Path) -> None:
    """Beyond the sample, too, where it is found when it is read."""
    folder = save(tmp_path, **{f"p{index:02}": logits(4, index) for index in range(2 * SAMPLE)})
    odd = "p01"
    for content, reason in (
        (logits(3), "has 3 channels, but other maps have 4"),
        (np.zeros((6, 9), np.int64), "holds int64, but other maps of the folder hold floats"),
        (np.full((4, 6, 9), np.inf, np.float32), "holds NaN or infinite"),
    ):
        save(folder, **{odd: content})
        assert f"{odd}.npy: {reason}" in refusal(folder, name=f"{odd}.jpg")
        assert open_(folder).read("p00.jpg").shape == (4, 6, 9)
    small = save(tmp_path / "small", a=logits(4), b=logits(3))
    assert "b.npy: has the shape (3, 6, 9), unlike the 4 channels of a.npy" in refusal(small)
    sure = save(tmp_path / "sure", **{f"p{index:02}": softmax(logits(4, index)) for index in range(2 * SAMPLE)})
    save(sure, p01=logits(4))
    assert "p01.npy: gives values from -" in refusal(sure, name="p01.jpg")


def test_labels_that_turn_out_to_be_grey(tmp_path: Path) -> None:
    folder = save(tmp_path, **{f"p{index:02}": grey([[0, 255]]) for index in range(2 * SAMPLE)})
    save(folder, p01=grey([[0, 77]]))
    assert "p01.png: holds the id 77, but the ids must be 0 or 255" in refusal(folder, TWO, "p01.jpg")
    assert "teacher.outputs: probabilities" in refusal(folder, TWO, "p01.jpg")


def test_outputs_that_maps_cannot_be(tmp_path: Path) -> None:
    ids = save(tmp_path / "ids", a=grey([[0, 3]]))
    assert "remove teacher.outputs: probabilities" in refusal(ids, FOUR, outputs="probabilities")
    levels = save(tmp_path / "levels", a=grey([[0, 77]]))
    assert "remove teacher.outputs: logits" in refusal(levels, TWO, outputs="logits")
    floats = save(tmp_path / "floats", a=logits(4))
    assert "says probabilities, but the values go from" in refusal(floats, FOUR, outputs="probabilities")
