"""One check per item: the first bad one is named, others are counted, and no error goes without its item."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from made_sets import write_scenes

from snowmelt.data import ScenesSource, open_splits
from snowmelt.data.checking import all_or_errors, examine_all
from snowmelt.data.folders import FolderSource
from snowmelt.data.samples import Sample
from snowmelt.data.store import ImageStore, keys_of
from snowmelt.data.store_fill import fill_store
from snowmelt.data.survey import open_parts, survey
from snowmelt.data.survey.parts import FolderPart
from snowmelt.errors import SnowmeltError


def half_bad(index: int) -> int:
    if index % 100 == 50:
        raise SnowmeltError(f"item {index} is bad", code="image-unreadable")
    return index * index


def faulty(index: int) -> int:
    if index in (70, 71):
        raise ZeroDivisionError("a fault\nof the program")
    return index


def test_results_come_in_order_and_progress_is_told() -> None:
    told: list[int] = []
    assert examine_all(lambda index: index * index, 150, str, told.append) == [n * n for n in range(150)]
    assert told == [64, 128, 150]


def test_the_first_by_position_is_named_and_others_are_counted() -> None:
    with pytest.raises(SnowmeltError) as caught:
        examine_all(half_bad, 400, str)
    assert str(caught.value) == "item 50 is bad (and 3 more bad files)"
    assert caught.value.code == "image-unreadable"
    with pytest.raises(SnowmeltError, match=r"item 50 is bad \(and 1 more bad file\)"):
        all_or_errors([lambda: half_bad(50), lambda: half_bad(150), lambda: 7])


def test_any_other_error_names_its_item_and_keeps_where_it_was() -> None:
    with pytest.raises(SnowmeltError) as caught:
        examine_all(faulty, 100, lambda index: f"picture{index}.jpg")
    assert str(caught.value) == (
        "picture70.jpg: reading it failed with ZeroDivisionError: a fault of the program; take it out of the data, "
        "or see with --debug where it happened (and 1 more bad file)"
    )
    assert caught.value.code == "loading-failed"
    assert "in faulty" in "".join(traceback.format_exception(caught.value))


class Faulty(ScenesSource):
    def load(self, index: int) -> Sample:
        faulty(index + 68)
        return super().load(index)


def test_filling_an_image_store_names_the_picture_and_keeps_the_others(tmp_path: Path) -> None:
    source, store = Faulty(5, 0, 16), ImageStore(tmp_path, 16, False, print)
    keys = keys_of(source)
    with pytest.raises(SnowmeltError) as caught:
        fill_store(store, source, keys)
    assert str(caught.value).startswith(f"{source.name(2)}: reading it failed with ZeroDivisionError")
    assert str(caught.value).endswith("(and 1 more bad file)")
    assert store.missing(keys) == [keys[2], keys[3]]


def test_the_check_before_training_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = open_splits(str(write_scenes(tmp_path, {"train": 3, "val": 1})), image_size=32)
    monkeypatch.setattr(FolderSource, "_check_item", lambda self, index: faulty(index + 69))
    with pytest.raises(SnowmeltError, match=r"001\.png: reading it failed with ZeroDivisionError"):
        splits.check()


@pytest.mark.parametrize(
    ("method", "kind", "folder"), [("picture", "bad_image", "images"), ("labels", "bad_mask", "masks")]
)
def test_check_data_goes_on_and_lists_the_file(
    method: str, kind: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = getattr(FolderPart, method)

    def fail(self: FolderPart, index: int, *options: Any) -> object:
        faulty(index + 69 if self.split == "train" else 0)
        return read(self, index, *options)

    monkeypatch.setattr(FolderPart, method, fail)
    found = survey(open_parts(str(write_scenes(tmp_path, {"train": 4, "val": 1}))), image_size=32)
    [finding] = [each for each in found.findings if each.level == "error"]
    assert (finding.kind, finding.code) == (kind, "loading-failed")
    assert [(Path(item.file).relative_to(tmp_path).as_posix(), item.detail) for item in finding.items] == [
        (f"train/{folder}/00{number}.png", "reading it failed with ZeroDivisionError: a fault of the program")
        for number in (1, 2)
    ]
    assert not found.sound and found.count("train") == 4
