"""Files that are there whole or not at all, and errors that name the file."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from snowmelt.errors import SnowmeltError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "allow larger files (ulimit -f)",
    errno.EROFS: "make the folder writable",
    errno.EACCES: "make the folder writable",
    errno.EPERM: "make the folder writable",
    errno.ENOENT: "bring the folder back",
    errno.ENOTDIR: "bring the folder back",
    errno.ESTALE: "mount the folder anew",
    errno.EIO: "look at the disk",
}


class WriteError(SnowmeltError):
    """A file could not be written: the disk is full, the folder is read-only or gone.

    Attributes:
        path: the file.
        reason: in the words of the system.
        remedy: what a person can do about it.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        self.path = path
        self.reason = (error.strerror or str(error)).lower()
        self.remedy = _REMEDIES.get(error.errno or 0, "choose a place you may write")
        super().__init__(f"{path}: cannot be written ({self.reason}); {self.remedy}", code="file-unwritable")


@contextmanager
def named(path: Path) -> Iterator[None]:
    """An ``OSError`` inside becomes a ``WriteError`` about ``path``."""
    try:
        yield
    except OSError as error:
        raise WriteError(path, error) from error


@contextmanager
def replacing(path: Path, keep: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write in place of ``path``: written aside, flushed to the disk, renamed, and the folder flushed.

    The path holds the old content or the new, never a part of it. What could not be finished is removed, so that a
    full disk is not full of it.

    Args:
        keep: where the old content is found afterwards.

    Raises:
        WriteError: it cannot be written; ``path`` is as it was.
    """
    aside = path.with_name(path.name + ".tmp")
    try:
        with named(path):
            with open(aside, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if keep is not None and path.exists():
                second_name(path, keep)
            os.replace(aside, path)
            flush_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def append_whole(path: Path, text: str) -> None:
    """Add ``text`` to a file that is there, down to the disk; all of it or nothing.

    Raises:
        WriteError: it cannot be added, or the file is gone; what a full disk has taken of it is cut off again.
    """
    with named(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        try:
            write_or_undo(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class GrowingFile:
    """A new file that grows by whole pieces: a piece that a full disk cuts is taken back.

    Raises:
        WriteError: it cannot be made; ``add`` also where it is no longer found under its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)

    @property
    def is_there(self) -> bool:
        """Whether the name still leads to this file."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self.path))
        except OSError:
            return False

    def add(self, content: bytes) -> None:
        with named(self.path):
            if not self.is_there:
                raise OSError(errno.ENOENT, "it has disappeared")
            write_or_undo(self._descriptor, content)

    def close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


def second_name(path: Path, name: Path) -> None:
    """``name`` holds the content of ``path`` from now on, too, at every moment its old one or this.

    A hard link, or a copy where the file system has none. Raises ``WriteError``.
    """
    aside = name.with_name(name.name + ".tmp")
    with named(name):
        aside.unlink(missing_ok=True)
        try:
            os.link(path, aside)
        except OSError:
            with path.open("rb") as source, replacing(name) as file:
                shutil.copyfileobj(source, file)
            return
        os.replace(aside, name)
        aside.unlink(missing_ok=True)  # two names of one file: then nothing is renamed


def write_or_undo(descriptor: int, content: bytes) -> None:
    """Write at the end of an open file; when that fails, its length is what it was. Raises ``OSError``."""
    length = os.fstat(descriptor).st_size
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, length)
        raise


def flush_folder(folder: Path) -> None:
    """What was renamed in ``folder`` stays renamed when the power goes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
