"""The image store: working pictures and masks as bytes that any number of processes map into memory."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.checking import examine_all
from snowmelt.data.samples import Sample, Source
from snowmelt.data.shards import Entry, Shard, checksum_of_shard, describe_shard, make_shard
from snowmelt.data.working import Working, load_working
from snowmelt.errors import SnowmeltError

FORMAT = 1
"""Changes whenever the same file would give another working picture."""

_ABANDONED = 3600.0  # seconds after which a file that is not complete is nobody's work in progress
_MOST_OPEN = 256  # each mapping holds a file descriptor, and a process may have about a thousand

Say = Callable[[str], None]


class ImageStore:
    """Working pictures of one size by what they hold; see ``keys_of``.

    A picture is found by its content and its mask's, not by where they lie, so other runs, a subset and renamed files
    find what is there, and changed files do not. Shards are only ever added. What is damaged is put aside with one
    line, and counts as missing.

    Args:
        root: where stores lie, each in a folder of its own; ``None`` keeps the pictures in this process's memory.
        side: the most that a picture's long side has.
        exact: pictures are never decoded at a fraction of their size, as for validation.
        verify: compare every checksum once, now; else sizes alone.
    """

    def __init__(self, root: Path | None, side: int, exact: bool, say: Say, verify: bool = True) -> None:
        self.side = side
        self.exact = exact
        self.folder = None if root is None else root / f"{side}{'-exact' if exact else ''}-{FORMAT}"
        self._say = say
        self._shards: list[Shard] = []
        self._places: dict[str, tuple[int, Entry]] = {}  # key -> number of its shard
        if self.folder is not None and self.folder.is_dir():
            self._find(self.folder, verify)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those that are not stored, each once, in the order given."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def bytes_of(self, keys: Iterable[str]) -> int:
        """What those of the pictures take that are stored."""
        return sum(self._places[key][1].bytes for key in set(keys) if key in self._places)

    def write(self, pictures: Mapping[str, Working]) -> None:
        """Add a shard. Raises ``OSError`` where the folder cannot be written or the disk is full."""
        if not pictures:
            return
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._add(make_shard(pictures, self.folder))

    def view(self, keys: Sequence[str]) -> StoredPictures:
        """The pictures of these keys, in this order; ``SnowmeltError`` if one is missing."""
        lacking = len(self.missing(keys))
        if lacking:
            raise SnowmeltError(
                f"{self.folder}: {lacking} pictures are not stored there; start again", code="store-changed"
            )
        numbers = sorted({self._places[key][0] for key in keys})
        position = {number: place for place, number in enumerate(numbers)}
        rows = [(position[self._places[key][0]], self._places[key][1]) for key in keys]
        table = [[shard, entry.offset, *entry.shape, *entry.origin] for shard, entry in rows]
        shards = [self._shards[number] for number in numbers]
        # Without the entries of all their pictures: workers need those in the table alone.
        bare = [Shard({}, shard.path, shard.held) for shard in shards]
        return StoredPictures(self.side, self.exact, bare, np.array(table, dtype=np.int64).reshape(-1, 6))

    def _find(self, folder: Path, verify: bool) -> None:
        abouts = sorted(folder.glob("*.json"))
        found = [describe_shard(about) for about in abouts]
        sums: list[int | None] = []
        if verify:
            paths = [about.with_suffix(".bin") for about in abouts]
            with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
                sums = list(pool.map(checksum_of_shard, paths))
        for number, (about, shard) in enumerate(zip(abouts, found, strict=True)):
            if isinstance(shard, str):
                self._put_aside(about, shard)
            elif verify and sums[number] != shard[1]:
                self._put_aside(about, "its checksum is wrong")
            else:
                self._add(shard[0])
        nameless = [path for path in folder.glob("*.bin") if not path.with_suffix(".json").exists()]  # killed between
        for path in (*folder.glob("*.part"), *nameless):
            with suppress(OSError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()

    def _add(self, shard: Shard) -> None:
        number = len(self._shards)
        self._shards.append(shard)
        for key, entry in shard.entries.items():
            self._places.setdefault(key, (number, entry))

    def _put_aside(self, about: Path, reason: str) -> None:
        """Out of the way, but not deleted: whoever wonders can look."""
        path = about.with_suffix(".bin")
        for each in (path, about):
            with suppress(OSError):  # gone, done by another process, or a folder that may only be read
                each.rename(each.with_name(f"{each.name}.bad"))
        self._say(f"image store: {path} is not usable: {reason}; its pictures are read from their files again")


class StoredPictures:
    """Working pictures by index. Pickles to paths and positions; each process maps shards when it first needs them.

    Args:
        table: (pictures, 6) int64: number of the shard, offset, height and width, and those of the origin.
    """

    def __init__(self, side: int, exact: bool, shards: Sequence[Shard], table: np.ndarray) -> None:
        self.side = side
        self.exact = exact
        self._shards = tuple(shards)
        self._table = table
        self._open: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._table)

    def read(self, index: int) -> Working:
        """The picture, read-only. ``SnowmeltError`` where its file is gone."""
        number, offset, height, width, *origin = self._table[index].tolist()
        data = self._open.get(number)
        if data is None:
            if len(self._open) >= _MOST_OPEN:
                self._open.clear()
            data = self._open[number] = self._shards[number].open()
        return Entry(offset, (height, width), (origin[0], origin[1])).read(data)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}


class StoredSource:
    """A source whose working pictures of one size lie in a store; in all else the source itself."""

    def __init__(self, source: Source, pictures: StoredPictures) -> None:
        self.source = source
        self.pictures = pictures
        self.classes = source.classes

    def __len__(self) -> int:
        return len(self.source)

    def working(self, index: int, side: int, exact: bool) -> Working:
        """See ``load_working``: the stored picture, or what the source gives for another size."""
        if (side, exact) == (self.pictures.side, self.pictures.exact):
            return self.pictures.read(index)
        return load_working(self.source, index, side, exact)

    def load(self, index: int) -> Sample:
        return self.source.load(index)

    def name(self, index: int) -> str:
        return self.source.name(index)

    def digest(self, index: int) -> str:
        return self.source.digest(index)

    def check(self) -> None:
        """Nothing to check: every picture was read when it was stored, and found again by what it holds."""

    def describe(self) -> str:
        return self.source.describe()


def keys_of(source: Source) -> list[str]:
    """What tells each picture with its mask from all others, in order. Reads files unless the source knows them.

    Raises ``SnowmeltError`` naming a file that cannot be read.
    """
    return examine_all(lambda index: key_of(source, index), len(source), source.name)


def key_of(source: Source, index: int) -> str:
    mask: str = source.mask_digest(index)  # type: ignore[attr-defined]
    # Masks were checked for the classes that there were; fewer now, and the same mask may hold one too many.
    text = f"{source.digest(index)} {mask} {len(source.classes)}"
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
