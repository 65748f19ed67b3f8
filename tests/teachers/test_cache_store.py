"""A cache gives back what was put into it, or says what is wrong; never anything else."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cached_pictures import DIGEST, exact

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache import Effect, Encoding, TeacherCache, find_effects, open_cache, view

ENCODING = Encoding("uint8", 1, None, 1, 4)
EFFECT = Effect(ENCODING, ENCODING.row_bytes, 0.5, 0.25, 0.125)


def row(number: int) -> np.ndarray:
    return np.random.Generator(np.random.PCG64(number)).integers(0, 256, ENCODING.row_bytes, dtype=np.uint8)


def add(cache: TeacherCache, *numbers: int) -> None:
    cache.write([f"{number:04x}" for number in numbers], [row(number) for number in numbers])


def digests(*numbers: int) -> list[str]:
    return [f"{number:04x}" for number in numbers]


def stored(cache: TeacherCache, number: int) -> bytes:
    return b"".join(plane.tobytes() for plane in cache.view(digests(number)).read(0))


def reopened(root: Path, lines: list[str] | None = None, verify: bool = True) -> TeacherCache:
    return open_cache(root, DIGEST, ENCODING, say=[].append if lines is None else lines.append, verify=verify)


@pytest.fixture
def cache(tmp_path: Path) -> TeacherCache:
    """Pictures 0 to 2 in one shard, 3 and 4 in another."""
    cache = open_cache(tmp_path, DIGEST, ENCODING, description="B4", classes=("a", "b"), effects=[EFFECT])
    add(cache, 0, 1, 2)
    add(cache, 3, 4)
    return cache


def shard_of(cache: TeacherCache, number: int) -> Path:
    """The data file with this picture."""
    about = [path for path in cache.folder.glob("*.json") if path.name != "cache.json"]
    (found,) = [path for path in about if f"{number:04x}" in json.loads(path.read_text())["digests"]]
    return found.with_suffix(".npy")


def test_pictures_are_found_by_content_in_any_order(cache: TeacherCache, tmp_path: Path) -> None:
    for each in (cache, reopened(tmp_path)):
        assert len(each) == 5
        assert each.missing(digests(7, 1, 8, 7, 4)) == digests(7, 8)
        seen = each.view(digests(4, 0, 4, 2))
        assert len(seen) == 4 and seen.size == 4
        for index, number in enumerate((4, 0, 4, 2)):
            assert b"".join(plane.tobytes() for plane in seen.read(index)) == row(number).tobytes()


def test_a_read_is_the_readers_own(cache: TeacherCache) -> None:
    seen = cache.view(digests(1))
    for plane in seen.read(0):
        assert plane.flags.writeable
        torch.from_numpy(plane).zero_()
    assert b"".join(plane.tobytes() for plane in seen.read(0)) == row(1).tobytes()


def test_a_view_of_what_is_not_there_is_refused(cache: TeacherCache) -> None:
    with pytest.raises(SnowmeltError, match="2 pictures have no stored answer"):
        cache.view(digests(0, 8, 9))


def test_the_folder_says_what_it_is(cache: TeacherCache, tmp_path: Path) -> None:
    about = json.loads((cache.folder / "cache.json").read_text())
    assert cache.folder.parent == tmp_path and ENCODING.key in cache.folder.name
    assert about["teacher"] == DIGEST and about["description"] == "B4" and about["classes"] == ["a", "b"]
    assert (about["size"], about["channels"]) == (4, 1)
    assert reopened(tmp_path).effects == (EFFECT,)
    assert find_effects(tmp_path, DIGEST, 4, 1) == (EFFECT,)
    for other in (("f" * 64, 4, 1), (DIGEST[:16] + "f" * 48, 4, 1), (DIGEST, 8, 1), (DIGEST, 4, 3)):
        assert find_effects(tmp_path, *other) == ()


def test_a_longer_table_replaces_the_one_of_a_laid_down_encoding(tmp_path: Path) -> None:
    open_cache(tmp_path, DIGEST, ENCODING, effects=[EFFECT])
    longer = (EFFECT, replace(EFFECT, kl=2 * EFFECT.kl))
    assert open_cache(tmp_path, DIGEST, ENCODING, effects=longer).effects == longer
    assert find_effects(tmp_path, DIGEST, 4, 1) == longer
    assert open_cache(tmp_path, DIGEST, ENCODING, effects=[EFFECT]).effects == longer


def test_shards_are_plain_arrays(cache: TeacherCache) -> None:
    assert (np.load(shard_of(cache, 3)) == np.stack([row(3), row(4)])).all()
    assert not list(cache.folder.glob("*.part"))


def test_teachers_and_encodings_do_not_mix(cache: TeacherCache, tmp_path: Path) -> None:
    coarser = Encoding("uint8", 2, None, 1, 4)
    for teacher, encoding in (("f" * 64, ENCODING), (DIGEST, coarser), (DIGEST, exact(size=4))):
        other = open_cache(tmp_path, teacher, encoding)
        assert other.folder != cache.folder and len(other) == 0


def test_a_digest_that_begins_alike_is_another_teacher(cache: TeacherCache, tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"made for another teacher; remove it"):
        open_cache(tmp_path, DIGEST[:16] + "f" * 48, ENCODING)


@pytest.mark.parametrize(("name", "value"), [("format", 0), ("teacher", "x"), ("encoding", {})])
def test_a_cache_of_something_else_is_refused(cache: TeacherCache, tmp_path: Path, name: str, value: object) -> None:
    about = cache.folder / "cache.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), name: value}))
    with pytest.raises(SnowmeltError, match=f"another {name}"):
        reopened(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"format": 1'])
def test_a_damaged_description_is_said(cache: TeacherCache, tmp_path: Path, content: bytes) -> None:
    (cache.folder / "cache.json").write_bytes(content)
    with pytest.raises(SnowmeltError, match=r"cache\.json: damaged"):
        reopened(tmp_path)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    values = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**values, "cache": "someone else's"}))


def misstated(path: Path) -> None:
    values = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**values, "digests": values["digests"] * 2}))


DAMAGES = {
    "a row's bit": (lambda path: flip(path, -1), "checksum"),
    "a header's bit": (lambda path: flip(path, 20), "checksum"),
    "cut": (lambda path: os.truncate(path, path.stat().st_size - 1), "bytes instead of"),
    "emptied": (lambda path: path.write_bytes(b""), "0 bytes instead of"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "bytes instead of"),
    "gone": (lambda path: path.unlink(), "missing"),
    "description cut": (lambda path: path.with_suffix(".json").write_text("{"), "cannot be read"),
    "description empty": (lambda path: path.with_suffix(".json").write_text("{}"), "cannot be read"),
    "description odd": (lambda path: path.with_suffix(".json").write_text('{"digests": 3}'), "cannot be read"),
    "another's": (foreign, "belongs to another cache"),
    "too many names": (misstated, "contradicts itself"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_said_in_a_line_and_costs_only_its_shard(cache: TeacherCache, tmp_path: Path, damage: str) -> None:
    harm, words = DAMAGES[damage]
    path = shard_of(cache, 1)
    harm(path)
    lines: list[str] = []
    again = reopened(tmp_path, lines)
    assert len(lines) == 1 and words in lines[0] and path.name in lines[0] and "\n" not in lines[0]
    assert again.missing(digests(0, 1, 2, 3, 4)) == digests(0, 1, 2)
    assert stored(again, 3) == row(3).tobytes()
    add(again, 0, 1, 2)
    assert stored(again, 1) == row(1).tobytes()
    assert len(reopened(tmp_path, lines)) == 5 and len(lines) == 1  # what is bad was put aside


@pytest.mark.parametrize("at", [0, 130, -1])
def test_checksums_cover_files_larger_than_a_block(
    cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    monkeypatch.setattr("snowmelt.data.stored_files._BLOCK", 16)
    assert len(reopened(tmp_path)) == 5
    flip(shard_of(cache, 1), at)
    assert len(reopened(tmp_path)) == 2


def test_sizes_are_compared_even_where_checksums_are_not(cache: TeacherCache, tmp_path: Path) -> None:
    flip(shard_of(cache, 1), -1)
    os.truncate(shard_of(cache, 3), 10)
    assert reopened(tmp_path, verify=False).missing(digests(1, 3)) == digests(3)


def test_two_writers_see_each_other_after_a_refresh(cache: TeacherCache, tmp_path: Path) -> None:
    other = reopened(tmp_path)
    add(other, 5, 6)
    add(cache, 6, 7)
    assert cache.missing(digests(5)) == digests(5)
    cache.refresh()
    other.refresh()
    for each in (cache, other, reopened(tmp_path)):
        assert len(each) == 8
        assert all(stored(each, number) == row(number).tobytes() for number in range(8))


def write_and_read(root: Path, seen: view.StoredMapView, first: int, begun: Any = None) -> None:
    """Read everything over and over while shards appear; ``begun`` is set once this process is under way."""
    mine = open_cache(root, DIGEST, ENCODING)
    if begun is not None:
        begun.set()
    for number in range(first, first + 20):
        add(mine, number)
        content = b"".join(plane.tobytes() for plane in seen.read(number % 5))
        assert content == row(number % 5).tobytes()
        mine.refresh()


def test_processes_read_and_write_at_once(cache: TeacherCache, tmp_path: Path) -> None:
    seen = cache.view(digests(0, 1, 2, 3, 4))
    seen.read(0)  # an open mapping must not travel
    start = multiprocessing.get_context("spawn")
    begun = start.Event()
    process = start.Process(target=write_and_read, args=(tmp_path, seen, 100, begun))
    process.start()
    assert begun.wait(120)
    write_and_read(tmp_path, seen, 110)
    process.join(120)
    assert process.exitcode == 0
    lines: list[str] = []
    after = reopened(tmp_path, lines)
    assert lines == [] and len(after) == 5 + 30
    assert all(stored(after, number) == row(number).tobytes() for number in range(100, 130))


def test_a_view_travels_without_its_mappings(cache: TeacherCache) -> None:
    seen = cache.view(digests(0, 3))
    seen.read(0), seen.read(1)
    travelled = pickle.loads(pickle.dumps(seen))
    assert len(seen._open) == 2 and len(travelled._open) == 0
    assert b"".join(plane.tobytes() for plane in travelled.read(1)) == row(3).tobytes()


def test_few_shards_are_open_at_a_time(cache: TeacherCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_MOST_OPEN", 2)
    for number in range(5, 10):
        add(cache, number)
    seen = cache.view(digests(*range(10)))
    for number in [*range(10), *range(10), 9, 0, 9, 5]:
        assert b"".join(plane.tobytes() for plane in seen.read(number)) == row(number).tobytes()
        assert len(seen._open) <= 2
    assert list(seen._open) == [6, 2]  # those that were used last: picture 9's and picture 5's


def test_a_shard_that_vanishes_under_a_reader_is_named(cache: TeacherCache) -> None:
    seen, path = cache.view(digests(0)), shard_of(cache, 0)
    path.unlink()
    with pytest.raises(SnowmeltError, match=path.name):
        seen.read(0)


Usage = namedtuple("Usage", "total used free")


def test_too_little_space_is_said_before_anything_is_written(
    cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> Usage:
        asked.append(path)
        return Usage(10**12, 0, 90_000_000)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    cache.check_space(0)
    cache.check_space(10_000)
    with pytest.raises(
        SnowmeltError, match=r"need 92\.3 MB, but 90\.0 MB are free; set teacher\.cache_folder"
    ) as error:
        cache.check_space(1_000_000)  # 24 bytes each, a twentieth more, and 64 MiB
    assert "teacher.mode=live" in str(error.value) and "\n" not in str(error.value)
    later = TeacherCache(tmp_path / "not" / "there", DIGEST, ENCODING, (), print, True)
    later.check_space(1)
    assert asked[-1] == tmp_path


def test_a_disk_that_is_full_after_all_leaves_nothing_half_done(cache: TeacherCache, tmp_path: Path) -> None:
    before = sorted(cache.folder.iterdir())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(SnowmeltError, match=r"cannot be written .*teacher\.cache_folder"):
            add(cache, *range(1000, 1500))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(cache.folder.iterdir()) == before
    assert len(cache) == len(reopened(tmp_path)) == 5


def test_a_place_that_takes_no_folder_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SnowmeltError, match=r"cannot be made there .*teacher\.cache_folder"):
        open_cache(tmp_path / "file", DIGEST, ENCODING)


def test_a_cache_that_may_only_be_read_serves(
    cache: TeacherCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, whom no permission stops: renames and new files fail as on a read-only file system."""
    flip(shard_of(cache, 1), -1)

    def refused(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    for name in ("rename", "replace", "unlink", "mkdir"):
        monkeypatch.setattr(Path, name, refused)
    lines: list[str] = []
    served = reopened(tmp_path, lines)
    assert stored(served, 4) == row(4).tobytes() and len(lines) == 1
    with pytest.raises(SnowmeltError, match="Read-only file system"):
        add(served, 9)


def test_rows_that_are_not_this_caches_are_refused(cache: TeacherCache) -> None:
    with pytest.raises(SnowmeltError, match="rows of 24 bytes"):
        cache.write(digests(9), [np.zeros(23, dtype=np.uint8)])
    with pytest.raises(SnowmeltError, match="1 rows for 2 pictures"):
        cache.write(digests(8, 9), [row(8)])
    cache.write([], [])
    assert len(list(cache.folder.glob("*.npy"))) == 2
