"""Stored answers of one teacher in one encoding: a folder of shards that any number of processes may add to."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.stored_files import readable_size
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.choice import Effect
from snowmelt.teachers.cache.encoding import Encoding
from snowmelt.teachers.cache.shards import Rows, Shard, read_shard, write_shard, write_whole
from snowmelt.teachers.cache.view import StoredMapView

FORMAT = 1
"""Changes whenever rows of an older version could not be read or would mean something else."""

_ABOUT = "cache.json"
_ABANDONED = 3600.0  # seconds after which a file that is not complete is nobody's work in progress
_SPARE_SHARE, _SPARE_BYTES = 0.05, 64 << 20  # left free on the disk, beside what the rows take

Say = Callable[[str], None]


def _silent(line: str) -> None:
    pass


class TeacherCache:
    """Rows by the digest of a picture's content; made by ``open_cache``.

    A picture is found by what it holds, not by where it lies, so a subset, another split or more pictures find what
    is there. Shards are only ever added. What is damaged is put aside with one line, and counts as missing.
    """

    def __init__(
        self, folder: Path, teacher: str, encoding: Encoding, effects: Sequence[Effect], say: Say, verify: bool
    ) -> None:
        self.folder = folder
        self.encoding = encoding
        self.effects = tuple(effects)
        self._owner = f"{teacher} {encoding.key}"
        self._say = say
        self._verify = verify
        self._shards: list[Rows] = []
        self._places: dict[str, tuple[int, int]] = {}  # digest -> shard, row
        self._seen: set[str] = set()  # JSON files that were looked at
        self.refresh()

    def __len__(self) -> int:
        """Pictures that are stored."""
        return len(self._places)

    def refresh(self) -> None:
        """Take in what other processes have added; what this one knows already is not read again."""
        if not self.folder.is_dir():
            return
        for about in sorted(self.folder.glob("*.json")):
            if about.name == _ABOUT or about.name in self._seen:
                continue
            self._seen.add(about.name)
            shard = read_shard(about, self._owner, self.encoding.row_bytes, self._verify)
            if isinstance(shard, str):
                self._put_aside(about.with_suffix(".npy"), shard)
            else:
                self._add(shard)
        # Killed between two files, or in one. What is young may be another process's, between its two renames.
        nameless = [path for path in self.folder.glob("*.npy") if not path.with_suffix(".json").exists()]
        for path in (*self.folder.glob("*.part"), *nameless):
            if _age(path) > _ABANDONED:
                with suppress(OSError):
                    path.unlink()

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Those that are not stored, each once, in the order given."""
        return [digest for digest in dict.fromkeys(digests) if digest not in self._places]

    def write(self, digests: Sequence[str], rows: Sequence[np.ndarray]) -> None:
        """Add a shard. Raises ``SnowmeltError`` where the folder cannot be written or the disk is full."""
        if not rows:
            return
        wrong = {row.shape for row in rows} - {(self.encoding.row_bytes,)}
        if wrong or len(digests) != len(rows):
            raise SnowmeltError(
                f"{len(rows)} rows for {len(digests)} pictures, of shapes {wrong or 'as expected'}; "
                f"this cache takes rows of {self.encoding.row_bytes} bytes",
                code="array-shape",
            )
        shard = write_shard(self.folder, self._owner, digests, rows)
        self._seen.add(shard.rows.path.with_suffix(".json").name)
        self._add(shard)

    def view(self, digests: Sequence[str]) -> StoredMapView:
        """The rows of these pictures, in this order, for any process to read; ``SnowmeltError`` if one is missing."""
        lacking = len(self.missing(digests))
        if lacking:
            raise SnowmeltError(
                f"{self.folder}: {lacking} pictures have no stored answer; run snowmelt cache first",
                code="cache-incomplete",
            )
        places = np.array([self._places[digest] for digest in digests], dtype=np.int64).reshape(-1, 2)
        return StoredMapView(self.encoding, self._shards, places)

    def check_space(self, count: int) -> None:
        """Whether ``count`` more pictures fit on the disk; raises ``SnowmeltError`` with both numbers if not."""
        needed = count * self.encoding.row_bytes
        spare = int(needed * _SPARE_SHARE) + _SPARE_BYTES if count else 0
        free = shutil.disk_usage(_existing(self.folder)).free
        if needed + spare > free:
            raise SnowmeltError(
                f"{self.folder}: answers for {count} pictures need {readable_size(needed + spare)}, but "
                f"{readable_size(free)} are free; set teacher.cache_folder to a larger disk, teacher.cache_stride to a "
                "larger stride, or teacher.mode=live",
                code="disk-full",
            )

    def _add(self, shard: Shard) -> None:
        number = len(self._shards)
        self._shards.append(shard.rows)
        for row, digest in enumerate(shard.digests):
            self._places.setdefault(digest, (number, row))

    def _put_aside(self, path: Path, reason: str) -> None:
        """Out of the way, but not deleted: whoever wonders can look.

        Another process may have done it already, and a read-only folder forbids it.
        """
        for each in (path, path.with_suffix(".json")):
            with suppress(OSError):
                each.rename(each.with_name(f"{each.name}.bad"))
        self._say(f"teacher cache: {path} is not usable: {reason}; its pictures are computed again")


def open_cache(
    root: Path,
    teacher: str,
    encoding: Encoding,
    *,
    description: str = "",
    classes: Sequence[str] = (),
    effects: Sequence[Effect] = (),
    say: Say = _silent,
    verify: bool = True,
) -> TeacherCache:
    """The cache of a teacher in an encoding below ``root``, made where it is not there.

    Args:
        teacher: the teacher's digest; with the encoding (and its size) it decides what the cache may hold.
        description: for whoever reads ``cache.json``.
        classes: the same.
        effects: the same; they also save measuring them again.
        say: gets one line for each shard that is not usable.
        verify: compare every shard's checksum once, now.

    Raises:
        SnowmeltError: the folder holds another teacher's answers or another format, or cannot be written.
    """
    folder = root / f"{teacher[:16]}-{encoding.key}"
    about = folder / _ABOUT
    key = {"format": FORMAT, "teacher": teacher, "encoding": encoding.to_json()}
    if about.exists():
        found = _read_about(about)
        differing = [name for name, value in key.items() if found.get(name) != value]
        if differing:
            raise SnowmeltError(
                f"{folder}: made for another {' and '.join(differing)}; remove it or set teacher.cache_folder to "
                "another place",
                code="cache-other",
            )
        known = _effects(about, found)
        if len(effects) > len(known):
            # A first cache of a laid down stride has a table of one row; whoever chooses later needs the whole one.
            content = {**found, "effects": [effect.to_json() for effect in effects]}
            with suppress(SnowmeltError):  # a cache that may only be read serves all the same
                write_whole(about, json.dumps(content, indent=1).encode())
            known = tuple(effects)
        return TeacherCache(folder, teacher, encoding, known, say, verify)
    content = {
        **key,
        "description": description,
        "size": encoding.size,
        "channels": encoding.channels,
        "classes": list(classes),
        "effects": [effect.to_json() for effect in effects],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SnowmeltError(
            f"{folder}: the teacher cache cannot be made there ({error.strerror}); "
            "set teacher.cache_folder to another place, or teacher.mode=live",
            code="file-unwritable",
        ) from error
    write_whole(about, json.dumps(content, indent=1).encode())
    return TeacherCache(folder, teacher, encoding, effects, say, verify)


def find_effects(root: Path, teacher: str, size: int, channels: int) -> tuple[Effect, ...]:
    """Effects that were measured for this teacher before, so that its encoding need not be chosen anew.

    The longest table of its caches below ``root``; empty where there is none.
    """
    tables: list[tuple[Effect, ...]] = [()]
    for about in sorted(root.glob(f"{teacher[:16]}-*/{_ABOUT}")):
        found = _read_about(about)
        if (found.get("format"), found.get("teacher")) == (FORMAT, teacher):
            effects = _effects(about, found)
            if all((each.encoding.size, each.encoding.channels) == (size, channels) for each in effects):
                tables.append(effects)
    return max(tables, key=len)


def _read_about(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise SnowmeltError(
            f"{path}: cannot be read ({error.strerror}); give it read permission", code="file-unreadable"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SnowmeltError(
            f"{path}: damaged; remove the folder {path.parent} and start again", code="cache-damaged"
        ) from error
    if not isinstance(found, dict):
        raise SnowmeltError(f"{path}: damaged; remove the folder {path.parent} and start again", code="cache-damaged")
    return found


def _effects(path: Path, found: dict[str, Any]) -> tuple[Effect, ...]:
    try:
        return tuple(Effect.from_json(values) for values in found.get("effects", ()))
    except (KeyError, TypeError, ValueError) as error:
        raise SnowmeltError(
            f"{path}: damaged; remove the folder {path.parent} and start again", code="cache-damaged"
        ) from error


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def _age(path: Path) -> float:
    """Seconds since the last change; 0 for a file that has gone meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
