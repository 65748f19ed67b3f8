from __future__ import annotations

import errno
import multiprocessing
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import WriteFolder

from snowmelt.data import shards
from snowmelt.data.folders import open_folder
from snowmelt.data.samples import Sample, SubsetSource
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.store import ImageStore, keys_of
from snowmelt.data.store_fill import can_be_stored, expected_bytes, fill_store, free_disk, memory_size
from snowmelt.data.unlabelled import JoinedSource
from snowmelt.data.working import Working
from snowmelt.errors import SnowmeltError


def silent(line: str) -> None:
    raise AssertionError(line)


def opened(root: Path | None, side: int = 32) -> ImageStore:
    return ImageStore(root, side, False, silent)


class Stopping(ScenesSource):
    """Is cut, as by a signal, when it comes to a picture."""

    def load(self, index: int) -> Sample:
        if index == 40:
            raise KeyboardInterrupt
        return super().load(index)


def test_a_cut_pass_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = ScenesSource(60, 0, 16)
    keys = keys_of(whole)
    with pytest.raises(KeyboardInterrupt):
        fill_store(opened(tmp_path), Stopping(60, 0, 16), keys, shard_bytes=1)
    left = len(opened(tmp_path).missing(keys))
    assert 20 <= left < 60
    assert fill_store(opened(tmp_path), whole, keys) == left
    assert opened(tmp_path).missing(keys) == []
    assert fill_store(opened(tmp_path), whole, keys) == 0


def _fill_and_leave(root: Path) -> None:
    source = ScenesSource(24, 0, 32)
    fill_store(opened(root), source, keys_of(source), shard_bytes=1)


def test_two_runs_may_fill_one_store_at_once(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=_fill_and_leave, args=(tmp_path,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    source, store = ScenesSource(24, 0, 32), opened(tmp_path)  # whose checksums are compared; a damage would be said
    view = store.view(keys_of(source))
    for index in range(24):
        assert np.array_equal(view.read(index).image, source.load(index).image)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".bad")]


def test_bad_files_are_counted_and_good_ones_kept(write_folder: WriteFolder, tmp_path: Path) -> None:
    root = write_folder(count=5)
    for name in ("img1", "img3"):
        path = root / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:60])
    source = open_folder(root)["train"]
    with pytest.raises(SnowmeltError, match=r"img1\.png.* \(and 1 more bad file\)") as caught:
        fill_store(opened(tmp_path / "store"), source, keys_of(source))
    assert "\n" not in str(caught.value)
    assert len(opened(tmp_path / "store").missing(keys_of(source))) == 2


class FullDisk(ImageStore):
    def write(self, pictures: Mapping[str, Working]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path) -> None:
    source = ScenesSource(3, 0, 16)
    with pytest.raises(OSError, match="No space left"):
        fill_store(FullDisk(tmp_path, 16, False, silent), source, keys_of(source))


def test_no_data_stays_that_no_description_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may fill up, or the process be killed, between the one file and the other."""
    source, write = ScenesSource(3, 0, 16), shards.write_flushed

    def full(path: Path, parts: Iterable[Any]) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, parts)

    store = opened(tmp_path, 16)
    assert store.folder is not None
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(shards, "write_flushed", full)
        fill_store(store, source, keys_of(source))
    assert list(store.folder.iterdir()) == []
    fill_store(store, source, keys_of(source))
    (described,) = store.folder.glob("*.bin")
    for name in ("killed.bin", "young.bin"):
        (store.folder / name).write_bytes(b"data")
    for path in (described, store.folder / "killed.bin"):
        os.utime(path, (0, 0))
    opened(tmp_path, 16)
    assert {path.name for path in store.folder.glob("*.bin")} == {described.name, "young.bin"}


def test_progress_is_told_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = ScenesSource(40, 0, 16)
    fill_store(opened(tmp_path), source, keys_of(source), lambda done, total, rate: told.append((done, total)))
    assert told[-1] == (40, 40) and [done for done, _ in told] == sorted({done for done, _ in told})
    assert len(told) >= 2


@pytest.mark.parametrize("side", [16, 64])
def test_what_pictures_will_take_is_known_before(tmp_path: Path, side: int) -> None:
    source = ScenesSource(20, 0, 32)
    store = opened(tmp_path, side)
    expected = expected_bytes(store, source, 20)
    fill_store(store, source, keys_of(source))
    assert expected == store.bytes_of(keys_of(source)) == 20 * 4 * min(32, side) ** 2
    assert store.bytes_of(keys_of(source)[:3] * 2) == expected * 3 // 20


def test_an_estimate_passes_over_bad_files(write_folder: WriteFolder, tmp_path: Path) -> None:
    root = write_folder(count=2)
    (root / "images" / "img0.png").write_bytes(b"no picture")
    source = open_folder(root)["train"]
    assert expected_bytes(opened(tmp_path), source, 10) == 10 * 4 * 8 * 12
    (root / "images" / "img1.png").write_bytes(b"no picture")
    assert expected_bytes(opened(tmp_path), source, 10) == 0


def test_which_sources_can_be_stored() -> None:
    class Foreign:
        classes = ("a", "b")

    scenes = ScenesSource(3, 0, 16)
    assert can_be_stored(scenes) and can_be_stored(SubsetSource(scenes, [1]))
    assert not can_be_stored(Foreign()) and not can_be_stored(SubsetSource(Foreign(), [0]))  # type: ignore[arg-type]
    assert not can_be_stored(JoinedSource(scenes, SubsetSource(scenes, [])))  # its parts are stored one by one


def test_room_on_this_machine(tmp_path: Path) -> None:
    assert free_disk(tmp_path / "not" / "yet") > 0
    assert memory_size() > 1 << 28
