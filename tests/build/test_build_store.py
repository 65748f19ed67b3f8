from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_experiments import tiny, write_data_folder

from snowmelt.build import open_data, store_pictures, store_root
from snowmelt.build import progress as progress_lines
from snowmelt.build import store as store_building
from snowmelt.build.data import join_unlabelled
from snowmelt.config import ExperimentConfig
from snowmelt.data import JoinedSource, Splits, StoredSource, open_folder
from snowmelt.errors import SnowmeltError


class Alone:
    """Stands for the engine of the first process; counts how often it waits."""

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank
        self.waited = 0

    def barrier(self) -> None:
        self.waited += 1


def prepared(config: ExperimentConfig, said: list[str], rank: int = 0) -> Splits:
    splits, _ = join_unlabelled(config, open_data(config))
    return store_pictures(config, splits, Alone(rank), said.append)  # type: ignore[arg-type]


def folder(tmp_path: Path, **data: Any) -> ExperimentConfig:
    root = tmp_path / "data"
    if not root.exists():
        write_data_folder(root, count=10)
    return tiny(tmp_path / "out", data={"source": str(root), **data})


def is_stored(splits: Splits) -> bool:
    train = splits.train.sources if isinstance(splits.train, JoinedSource) else (splits.train,)
    found = {isinstance(source, StoredSource) for source in (*train, splits.val)}
    assert len(found) == 1 and not isinstance(splits.test, StoredSource)
    return found.pop()


def test_pictures_are_stored_once_and_found_by_the_next_run(tmp_path: Path) -> None:
    config, said = folder(tmp_path), []
    assert store_root(config) == tmp_path / "out" / "image-store"
    splits = prepared(config, said)
    assert is_stored(splits) and splits.train.classes == splits.val.classes
    assert len(said) == 1 and said[0].startswith("image store: 10 of 10 images read now in ")
    assert said[0].endswith(f"into {store_root(config)} (0.2 MB)")
    again: list[str] = []
    assert is_stored(prepared(config, again)) and again == ["image store: all 10 images (0.2 MB)"]


def test_the_store_lies_where_the_settings_say(tmp_path: Path) -> None:
    config = folder(tmp_path, store_folder=str(tmp_path / "elsewhere"), store="disk")
    assert is_stored(prepared(config, []))
    assert list((tmp_path / "elsewhere").glob("96-1/*.bin")) and list((tmp_path / "elsewhere").glob("64-exact-1/*.bin"))
    assert not (tmp_path / "out" / "image-store").exists()


def test_none_and_memory_leave_nothing_on_the_disk(tmp_path: Path) -> None:
    said: list[str] = []
    assert not is_stored(prepared(folder(tmp_path, store="none"), said)) and said == []
    assert is_stored(prepared(folder(tmp_path, store="memory"), said))
    assert len(said) == 1 and "into memory" in said[0]
    assert not (tmp_path / "out" / "image-store").exists()


@pytest.mark.parametrize("room", ["free_disk", "memory_size"])
def test_auto_takes_at_most_half_of_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str) -> None:
    """Ten pictures of 64 x 64 pixels take 4 bytes each: 163,840."""
    said: list[str] = []
    monkeypatch.setattr(store_building, room, lambda *_: 2 * 163_839)
    assert not is_stored(prepared(folder(tmp_path), said))
    what = "what is free on the disk" if room == "free_disk" else "memory"
    assert len(said) == 1 and said[0].startswith("image store: none, its 163.8 kB would be more than half of " + what)
    assert "(327.7 kB)" in said[0]
    monkeypatch.setattr(store_building, room, lambda *_: 2 * 163_840)
    assert is_stored(prepared(folder(tmp_path), said))


def test_a_store_that_was_asked_for_does_not_ask_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_building, "free_disk", lambda *_: 0)
    assert is_stored(prepared(folder(tmp_path, store="disk"), []))


@pytest.mark.parametrize("store", ["auto", "disk"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, store: str) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    config, said = folder(tmp_path, store=store, store_folder=str(blocked)), []
    if store == "auto":
        assert not is_stored(prepared(config, said))
        assert len(said) == 1 and said[0].startswith(f"image store: {blocked} cannot be written (")
        return
    with pytest.raises(SnowmeltError, match=r"cannot be written \(.*\); set data\.store_folder to another place, or"):
        prepared(config, said)


def test_a_complete_store_that_may_only_be_read_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(folder(tmp_path), [])
    monkeypatch.setattr(store_building, "free_disk", lambda *_: 0)
    files = sorted((tmp_path / "out" / "image-store").rglob("*"))
    assert is_stored(prepared(folder(tmp_path), []))
    assert sorted((tmp_path / "out" / "image-store").rglob("*")) == files


def test_the_other_processes_wait_and_then_read(tmp_path: Path) -> None:
    config = folder(tmp_path)
    splits, _ = join_unlabelled(config, open_data(config))
    early = Alone(1)
    assert store_pictures(config, splits, early, print) is splits and early.waited == 1  # type: ignore[arg-type]
    first = Alone(0)
    store_pictures(config, splits, first, lambda line: None)  # type: ignore[arg-type]
    assert first.waited == 1
    late = Alone(1)
    assert is_stored(store_pictures(config, splits, late, print)) and late.waited == 1  # type: ignore[arg-type]


def test_unlabelled_pictures_are_stored_beside_the_labelled(tmp_path: Path) -> None:
    write_data_folder(tmp_path / "more", count=3, size=48)
    config, said = folder(tmp_path, unlabelled=str(tmp_path / "more" / "images")), []
    splits = prepared(config, said)
    assert isinstance(splits.train, JoinedSource) and is_stored(splits)
    assert splits.train.labelled == len(splits.train) - 3 and said[0].startswith("image store: 13 of 13 images")
    shutil.rmtree(tmp_path / "more")
    found = splits.train.working(splits.train.labelled, 96, False)
    assert found.image.shape == (48, 48, 3) and (found.mask == 254).all()


def test_checking_a_stored_run_looks_at_its_test_set_alone(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        write_data_folder(tmp_path / "data" / split, count=3)
    splits = prepared(folder(tmp_path), [])
    for split in ("train", "val"):
        shutil.rmtree(tmp_path / "data" / split)  # they were looked at when they were stored
    splits.check()
    broken = tmp_path / "data" / "test" / "images" / "001.png"
    broken.write_bytes(broken.read_bytes()[:50])
    with pytest.raises(SnowmeltError, match=r"001\.png"):
        splits.check()


def test_a_bad_picture_stops_the_run_as_the_check_did(tmp_path: Path) -> None:
    config = folder(tmp_path)
    for name in ("002.png", "005.png"):
        path = tmp_path / "data" / "images" / name
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SnowmeltError, match=r"00[25]\.png"):
        prepared(config, [])


def test_what_a_run_sees_is_in_the_store_it_names(tmp_path: Path) -> None:
    splits = prepared(folder(tmp_path), [])
    source = open_folder(tmp_path / "data")["train"]
    names = {source.name(index): index for index in range(len(source))}
    for part, exact in ((splits.train, False), (splits.val, True)):
        assert isinstance(part, StoredSource)
        for index in range(len(part)):
            found = part.working(index, 64 if exact else 96, exact)
            np.testing.assert_array_equal(found.image, source.load(names[part.name(index)]).image)


def test_progress_is_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    progress = progress_lines.ProgressLines("image store", said.append)
    progress(5, 10, 2.0)
    monkeypatch.setattr(progress_lines, "SECONDS", 0.0)
    progress(6, 10, 2.0)
    progress(10, 10, 2.0)
    assert said == ["image store: 6 of 10 images, 2.0 images/s"]
    progress(1, 0, 2.0)  # nobody knows how many there will be
    assert said[1:] == ["image store: 1 image, 2.0 images/s"]


@pytest.mark.parametrize("store", ["disk", "none"])
def test_bad_files_of_all_splits_are_counted_together(tmp_path: Path, store: str) -> None:
    root = tmp_path / "data"
    for number, split in enumerate(("train", "val", "test")):
        write_data_folder(root / split, count=4)
        for index in range(number + 1):
            (root / split / "images" / f"{index:03d}.png").write_bytes(b"no picture")
    config, said = tiny(tmp_path / "out", data={"source": str(root), "store": store}), []
    with pytest.raises(SnowmeltError, match=r"train.images.000\.png: .* \(and 5 more bad files\)"):
        prepared(config, said).check()
    for index in range(3):
        (root / "test" / "images" / f"{index:03d}.png").write_bytes((root / "test" / "images" / "003.png").read_bytes())
    with pytest.raises(SnowmeltError, match=r"train.images.000\.png: .* \(and 2 more bad files\)"):
        prepared(config, said).check()
