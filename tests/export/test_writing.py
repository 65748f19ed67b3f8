"""Whole or not at all, and nothing of anybody else's is removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.export import refuse_strangers, whole_file, whole_folder

OURS = frozenset({"a", "b"})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_there_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with whole_file(path) as aside:
        aside.write_text("half")
        assert not path.exists()
        aside.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["file"]


@pytest.mark.parametrize("end", [KeyboardInterrupt, SnowmeltError("too bad", code="export-refused"), OSError("full")])
def test_a_file_that_was_not_finished_leaves_the_old_one(tmp_path: Path, end: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises((KeyboardInterrupt, SnowmeltError)), whole_file(path) as aside:
        aside.write_text("half")
        raise end
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_a_folder_takes_the_place_of_an_export_and_of_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "export"
    for content in ("first", "second"):
        with whole_folder(place, OURS) as aside:
            (aside / "a").write_text(content)
            assert not place.exists() or (place / "a").read_text() == "first"
    assert (place / "a").read_text() == "second"
    assert names(tmp_path) == ["export"]
    (place / "thesis.tex").write_text("mine")
    with pytest.raises(SnowmeltError, match=r"holds thesis\.tex, which is no part of an export"):
        whole_folder(place, OURS).__enter__()
    assert names(place) == ["a", "thesis.tex"]


def test_a_folder_that_was_not_finished_leaves_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "export"
    place.mkdir()
    (place / "b").write_text("old")
    with pytest.raises(KeyboardInterrupt), whole_folder(place, OURS) as aside:
        (aside / "a").write_text("half")
        raise KeyboardInterrupt
    assert names(place) == ["b"]
    assert names(tmp_path) == ["export"]


def test_a_file_is_no_place_for_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SnowmeltError, match="is a file, and --card writes a folder"):
        refuse_strangers(tmp_path / "file", OURS)
    refuse_strangers(tmp_path / "free", OURS)


@pytest.mark.parametrize("end", [OSError("no"), KeyboardInterrupt])
def test_the_old_folder_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    place = tmp_path / "export"
    place.mkdir()
    (place / "b").write_text("old")
    rename = os.rename

    def stumble(source: Path, target: Path) -> None:
        if Path(source).suffix == ".tmp":
            raise end
        rename(source, target)

    monkeypatch.setattr(os, "rename", stumble)
    with pytest.raises((KeyboardInterrupt, SnowmeltError)), whole_folder(place, OURS) as aside:
        (aside / "a").write_text("new")
    assert (place / "b").read_text() == "old"
    assert names(tmp_path) == ["export"]
