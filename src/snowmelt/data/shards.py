"""Files of an image store: many working pictures in one, and beside it what they are and a checksum."""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.geometry import Shape
from snowmelt.data.stored_files import checksum_of, write_flushed
from snowmelt.data.working import Working
from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class Entry:
    """Where in its shard a picture lies; its mask lies behind it."""

    offset: int
    shape: Shape
    origin: Shape

    @property
    def bytes(self) -> int:
        return 4 * self.shape[0] * self.shape[1]

    def read(self, data: np.ndarray) -> Working:
        """The picture in ``data``, the shard's bytes, as views of it."""
        height, width = self.shape
        middle = self.offset + 3 * height * width
        image = data[self.offset : middle].reshape(height, width, 3)
        return Working(image, data[middle : self.offset + self.bytes].reshape(height, width), self.origin)


@dataclass(frozen=True)
class Shard:
    """Pictures by their keys, in a file or in memory."""

    entries: Mapping[str, Entry]
    path: Path | None
    held: np.ndarray | None = None

    def open(self) -> np.ndarray:
        """The bytes, (n,) uint8 and read-only. Raises ``SnowmeltError`` where the file is gone."""
        if self.held is not None:
            return self.held
        assert self.path is not None
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r").view(np.ndarray)
        except (OSError, ValueError) as error:
            raise SnowmeltError(
                f"{self.path}: stored pictures that were there before cannot be read ({error}); start again",
                code="store-changed",
            ) from error


def make_shard(pictures: Mapping[str, Working], folder: Path | None) -> Shard:
    """The pictures in a new file of ``folder``, complete or not at all; without a folder in memory.

    The data are renamed before their description is: whoever sees the description sees all of the data.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    entries: dict[str, Entry] = {}
    parts: list[np.ndarray] = []
    offset = 0
    for key, picture in pictures.items():
        height, width = picture.mask.shape
        entries[key] = Entry(offset, (height, width), picture.origin)
        parts += [np.ascontiguousarray(picture.image).reshape(-1), np.ascontiguousarray(picture.mask).reshape(-1)]
        offset += entries[key].bytes
    if folder is None:
        data = np.concatenate(parts)
        data.flags.writeable = False
        return Shard(entries, None, data)
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part.data, checksum)
    about = {
        "bytes": offset,
        "crc32": checksum,
        "pictures": {key: [entry.offset, *entry.shape, *entry.origin] for key, entry in entries.items()},
    }
    path = folder / f"{uuid.uuid4().hex}.bin"
    write_flushed(path, parts)
    try:
        write_flushed(path.with_suffix(".json"), [json.dumps(about).encode()])
    except OSError:
        with suppress(OSError):
            path.unlink()  # nobody will ever find what no description names
        raise
    return Shard(entries, path)


def describe_shard(about: Path) -> tuple[Shard, int] | str:
    """The shard that a JSON file describes and its checksum, or what is wrong with it; sizes alone are compared."""
    path = about.with_suffix(".bin")
    try:
        values = json.loads(about.read_bytes())
        stated, checksum = int(values["bytes"]), int(values["crc32"])
        entries = {key: _entry(numbers, stated) for key, numbers in values["pictures"].items()}
        size = path.stat().st_size
    except FileNotFoundError:
        return "it is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        return f"its description cannot be read ({type(error).__name__})"
    if size != stated:
        return f"it has {size} bytes instead of {stated}"
    return Shard(entries, path), checksum


def checksum_of_shard(path: Path) -> int | None:
    """Of the file's bytes; ``None`` where it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            return checksum_of(file)
    except OSError:
        return None


def _entry(numbers: Any, limit: int) -> Entry:
    offset, height, width, origin_height, origin_width = map(int, numbers)
    entry = Entry(offset, (height, width), (origin_height, origin_width))
    if min(offset, height - 1, width - 1) < 0 or offset + entry.bytes > limit:
        raise ValueError("outside of the shard")
    return entry
