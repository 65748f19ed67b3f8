"""Files that this room keeps for later: written whole or not at all, and the stamps that tell when they are stale."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

_BLOCK = 1 << 24  # bytes read at a time

Stamp = tuple[int, int, int]
"""Size, and the times of the last change of content and of anything about the file, in nanoseconds. The latter also
tells a file whose old time of change was put back."""


def stamp_of(path: Path | str) -> Stamp | None:
    """The stamp of the file that ``path`` leads to; None where there is none that can be asked."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def write_whole(path: Path, parts: Iterable[Any]) -> bool:
    """``write_flushed`` for what can be computed anew, making the folder. Whether it worked.

    Neither a full disk nor a folder that may only be read is worth a word.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_flushed(path, parts)
    except OSError:
        return False
    return True


def write_flushed(path: Path, parts: Iterable[Any]) -> None:
    """Write the ``parts`` (buffers) aside, flush them to the disk and rename: there whole or not at all.

    Raises ``OSError``, and leaves nothing behind then.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with aside.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        with suppress(OSError):  # where it could not even be made
            aside.unlink()
        raise


def checksum_of(file: BinaryIO) -> int:
    """CRC32 of the rest of a file, in blocks, so that a check leaves no large mapping behind."""
    checksum = 0
    while block := file.read(_BLOCK):
        checksum = zlib.crc32(block, checksum)
    return checksum


def readable_size(count: float) -> str:
    """Bytes in the largest unit of which there is one: ``1.5 GB``, ``20.0 MB``, ``0.3 kB``."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:.1f} {unit}"
    return f"{count / 1000:.1f} kB"
