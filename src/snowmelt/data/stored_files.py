"""Files that this room keeps for later: written whole or not at all, and the stamps that tell when they are stale."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    """Write the ``parts`` (buffers) aside and rename; makes the folder. Whether it worked.

    What is kept here can be computed anew, so neither a full disk nor a folder that may only be read is worth a word.
    """
    aside = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            for part in parts:
                file.write(part)
        aside.replace(path)
    except OSError:
        with suppress(OSError):  # where it could not even be made
            aside.unlink()
        return False
    return True
