"""One shard: rows of bytes in a ``.npy`` file, and a ``.json`` file that says whose they are and vouches for them."""

from __future__ import annotations

import io
import json
import uuid
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snowmelt.data.stored_files import checksum_of, write_flushed
from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class Rows:
    """Where rows lie: ``count`` of them after ``offset`` bytes of ``path``."""

    path: Path
    count: int
    row_bytes: int
    offset: int

    def open(self) -> np.ndarray:
        """(count, row_bytes) uint8, mapped read-only. Raises ``SnowmeltError`` where the file is gone or cut."""
        shape = (self.count, self.row_bytes)
        try:
            return np.memmap(self.path, dtype=np.uint8, mode="r", offset=self.offset, shape=shape)
        except (OSError, ValueError) as error:
            raise SnowmeltError(
                f"{self.path}: stored teacher answers that were there before cannot be read ({error}); start again",
                code="store-changed",
            ) from error


@dataclass(frozen=True)
class Shard:
    """Rows, and the digest of the picture that each is about."""

    rows: Rows
    digests: tuple[str, ...]


def write_shard(folder: Path, owner: str, digests: Sequence[str], rows: Sequence[np.ndarray]) -> Shard:
    """A new shard under a name that no other process uses, complete or not at all.

    The data are written aside, flushed and renamed before the JSON is: whoever sees the JSON sees all of the data.

    Args:
        owner: the cache's identity; a shard that strays into another cache is not taken for one of its own.

    Raises:
        SnowmeltError: the folder cannot be written, or the disk is full.
    """
    data = np.stack(rows)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(data))
    head, body = header.getvalue(), data.reshape(-1).data
    about = {
        "cache": owner,
        "row_bytes": data.shape[1],
        "offset": len(head),
        "bytes": len(head) + data.nbytes,
        "crc32": zlib.crc32(body, zlib.crc32(head)),
        "digests": list(digests),
    }
    path = folder / f"{uuid.uuid4().hex}.npy"
    write_whole(path, head, body)
    try:
        write_whole(path.with_suffix(".json"), json.dumps(about).encode())
    except SnowmeltError:
        with suppress(OSError):
            path.unlink()  # nobody will ever find what no description names
        raise
    return Shard(Rows(path, len(data), data.shape[1], len(head)), tuple(digests))


def read_shard(about: Path, owner: str, row_bytes: int, verify: bool = True) -> Shard | str:
    """The shard that the JSON file ``about`` describes, or what is wrong with it.

    Args:
        verify: compare the checksum, at about 0.3 s per GB of memory and the disk's own time; else sizes alone.
    """
    path = about.with_suffix(".npy")
    try:
        values = json.loads(about.read_bytes())
        digests = tuple(map(str, values["digests"]))
        rows = Rows(path, len(digests), int(values["row_bytes"]), int(values["offset"]))
        stated, checksum, actual_owner = int(values["bytes"]), int(values["crc32"]), values["cache"]
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        return f"its description {about.name} cannot be read ({type(error).__name__})"
    if actual_owner != owner or rows.row_bytes != row_bytes:
        return f"it belongs to another cache ({actual_owner})"
    if rows.offset + rows.count * row_bytes != stated:
        return f"its description {about.name} contradicts itself"
    try:
        size = path.stat().st_size
        if size != stated:
            return f"it has {size} bytes instead of {stated}"
        if verify:
            with path.open("rb", buffering=0) as file:
                if checksum_of(file) != checksum:
                    return "its checksum is wrong"
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return Shard(rows, digests)


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """A file that is there whole or not at all. Raises ``SnowmeltError`` where it cannot be written."""
    try:
        write_flushed(path, parts)
    except OSError as error:
        raise SnowmeltError(
            f"{path.parent}: the teacher cache cannot be written ({error.strerror}); "
            "set teacher.cache_folder to another place, or teacher.mode=live",
            code="file-unwritable",
        ) from error
