"""A COCO file's table kept beside the run: written once, mapped into memory by whoever needs it."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.coco_table import CocoTable, Pieces
from snowmelt.data.stored_files import Stamp, checksum_of, write_whole
from snowmelt.errors import SnowmeltError

_MAGIC = b"snowmelt-coco-1\n"  # counted up when older files would be read wrongly
_HEAD = struct.Struct("<QI")  # length and CRC-32 of the description
_PIECES = ("names", "identities", "segmentations")
_ARRAYS = ("heights", "widths", "firsts", "labels", "crowds")
_ALIGN = 64
_BLOCK = 1 << 24  # bytes that are read at a time for a check, so that it leaves no large mapping behind


@dataclass(frozen=True)
class IndexKey:
    """What an index was made from: a state of a JSON file, and a choice of categories."""

    json_path: str  # absolute
    stamp: Stamp
    categories: tuple[str, ...]

    def file(self, folder: Path) -> Path:
        """Where the index lies: one for each file and choice, so that a newer state takes the older one's place."""
        text = json.dumps([self.json_path, list(self.categories)])
        return folder / f"coco-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.index"


class MappedTable(CocoTable):
    """A table whose arrays lie in a mapped file. Pickles to the file's path, so workers share the memory."""

    path: Path
    fingerprint: int

    def __reduce__(self) -> tuple[Any, ...]:
        return reopen_index, (self.path, self.fingerprint)


def make_key(json_path: Path, stamp: Stamp, categories: Sequence[str]) -> IndexKey:
    return IndexKey(os.path.abspath(json_path), stamp, tuple(categories))


def save_index(table: CocoTable, key: IndexKey, folder: Path) -> bool:
    """Write the index of ``key`` into ``folder``, whole or not at all. Whether it worked."""
    arrays = [(name, getattr(table, name)) for name in _ARRAYS]
    for name in _PIECES:
        pieces = getattr(table, name)
        arrays += [(f"{name}.ends", pieces.ends), (f"{name}.text", pieces.text)]
    parts: list[Any] = []
    places: dict[str, Any] = {}
    length = checksum = 0
    for name, array in arrays:
        raw = np.ascontiguousarray(array).view(np.uint8)
        padding = bytes(-length % _ALIGN)
        places[name] = (array.dtype.str, length + len(padding), len(array))
        for part in (padding, raw.data):
            checksum = zlib.crc32(part, checksum)
            length += len(part)
            parts.append(part)
    description = json.dumps(
        {**_described(key), "classes": list(table.classes), "arrays": places, "bytes": length, "crc32": checksum}
    ).encode()
    start = _MAGIC + _HEAD.pack(len(description), zlib.crc32(description)) + description
    return write_whole(key.file(folder), [start, bytes(-len(start) % _ALIGN), *parts])


def load_index(key: IndexKey, folder: Path) -> MappedTable | None:
    """The table of ``key``; None where the index is not there, stale, foreign or damaged."""
    try:
        return _load(key.file(folder), key, None)
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        return None


def reopen_index(path: Path, fingerprint: int) -> MappedTable:
    """The same index in another process. ``SnowmeltError`` where another one has taken its place meanwhile."""
    try:
        return _load(path, None, fingerprint)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:
        raise SnowmeltError(
            f"{path}: the index of a COCO file was changed or removed while it was in use ({error}); start again",
            code="store-changed",
        ) from error


def mark_checked(table: CocoTable) -> None:
    """Note beside the index that every mask of this table can be made."""
    if isinstance(table, MappedTable):
        write_whole(table.path.with_suffix(".checked"), [f"{table.fingerprint:08x}".encode()])


def is_checked(table: CocoTable) -> bool:
    """Whether that was noted for exactly this table."""
    if not isinstance(table, MappedTable):
        return False
    try:
        return table.path.with_suffix(".checked").read_bytes() == f"{table.fingerprint:08x}".encode()
    except OSError:
        return False


def _load(path: Path, key: IndexKey | None, fingerprint: int | None) -> MappedTable:
    """Raises ValueError and its like for anything that is not the index wanted.

    With ``fingerprint`` the data are not summed up again: that was done in the process that made it.
    """
    with path.open("rb") as file:
        head = file.read(len(_MAGIC) + _HEAD.size)
        length, checksum = _HEAD.unpack_from(head, len(_MAGIC))
        if not head.startswith(_MAGIC) or length > os.fstat(file.fileno()).st_size:
            raise ValueError("no index")
        text = file.read(length)
        if zlib.crc32(text) != checksum or fingerprint not in (None, checksum):
            raise ValueError("another index")
        about = json.loads(text)
        start = len(head) + length
        start += -start % _ALIGN
        if key is not None and any(about[name] != value for name, value in _described(key).items()):
            raise ValueError("of another state")
        if os.fstat(file.fileno()).st_size != start + about["bytes"]:
            raise ValueError("cut")
        if fingerprint is None:
            file.seek(start)
            if checksum_of(file) != about["crc32"]:
                raise ValueError("damaged")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    arrays = {
        name: np.frombuffer(mapped, dtype=np.dtype(kind), count=count, offset=start + offset)
        for name, (kind, offset, count) in about["arrays"].items()
    }
    fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    fields |= {name: Pieces(arrays[f"{name}.ends"], arrays[f"{name}.text"]) for name in _PIECES}
    table = MappedTable(classes=tuple(about["classes"]), **fields)
    object.__setattr__(table, "path", path)
    object.__setattr__(table, "fingerprint", checksum)
    return table


def _described(key: IndexKey) -> dict[str, Any]:
    return {"json": key.json_path, "stamp": list(key.stamp), "categories": list(key.categories)}
