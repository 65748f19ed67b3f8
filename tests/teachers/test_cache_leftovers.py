"""What a cut or a full disk leaves of a teacher cache: nothing that nobody will ever find."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cached_pictures import DIGEST

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache import Encoding, TeacherCache, open_cache, shards

ENCODING = Encoding("uint8", 1, None, 1, 4)


def opened(root: Path, lines: list[str] | None = None) -> TeacherCache:
    return open_cache(root, DIGEST, ENCODING, say=[].append if lines is None else lines.append)


def add(cache: TeacherCache, *digests: str) -> None:
    cache.write(digests, [np.full(ENCODING.row_bytes, 7, np.uint8)] * len(digests))


def shard_of(cache: TeacherCache, digest: str) -> Path:
    about = [path for path in cache.folder.glob("*.json") if path.name != "cache.json"]
    (found,) = [path for path in about if digest in json.loads(path.read_text())["digests"]]
    return found.with_suffix(".npy")


def test_only_old_leftovers_are_tidied_up(tmp_path: Path) -> None:
    """A data file without its description may be another process's, between two renames."""
    cache = opened(tmp_path)
    add(cache, "a")
    add(cache, "b")
    orphan, kept, part = shard_of(cache, "a"), shard_of(cache, "b"), cache.folder / "x.npy.part"
    orphan.with_suffix(".json").unlink()
    part.write_bytes(b"half")
    lines: list[str] = []
    assert opened(tmp_path, lines).missing(["a"]) == ["a"]
    assert orphan.exists() and part.exists()
    for path in (orphan, part, kept):
        os.utime(path, (time.time() - 4000, time.time() - 4000))
    assert opened(tmp_path, lines).missing(["a", "b"]) == ["a"]
    assert not orphan.exists() and not part.exists() and kept.exists() and lines == []


def test_no_data_stays_that_no_description_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may fill up between the one file and the other."""
    cache, write = opened(tmp_path), shards.write_flushed
    before = sorted(cache.folder.iterdir())

    def full(path: Path, parts: Iterable[Any]) -> None:
        if path.suffix == ".json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, parts)

    with monkeypatch.context() as patch, pytest.raises(SnowmeltError, match="No space left"):
        patch.setattr(shards, "write_flushed", full)
        add(cache, "a")
    assert sorted(cache.folder.iterdir()) == before
    assert cache.missing(["a"]) == ["a"]
    add(cache, "a")
    assert opened(tmp_path).missing(["a"]) == []
