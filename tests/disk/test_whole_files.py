"""Whole or not at all, and an error that names the file."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snowmelt.disk import WriteError, append_whole, named, replacing


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The kernel refuses to let a file grow beyond ``size`` bytes, in the middle of a write, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_is_replaced_whole_or_stays(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with replacing(path) as file:
        file.write(b"old")
    with (
        largest_file(1000),
        pytest.raises(WriteError, match=r"x: cannot be written \(file too large\); allow"),
        replacing(path) as file,
    ):
        file.write(b"n" * 2000)
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]  # what a full disk has taken is given back


def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n")
    with largest_file(10), pytest.raises(WriteError, match="file too large"):
        append_whole(path, "1,2\n3,4\n5,6\n")
    assert path.read_text() == "a,b\n"
    append_whole(path, "1,2\n")
    assert path.read_text() == "a,b\n1,2\n"
    path.unlink()
    with pytest.raises(WriteError, match="no such file or directory"):
        append_whole(path, "3,4\n")  # a file without its first lines is worse than none
    assert not path.exists()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, r"\(no space left on device\); free some space"),
        (errno.EROFS, r"\(read-only file system\); make the folder writable"),
        (errno.ENOENT, r"\(no such file or directory\); bring the folder back"),
        (errno.ELOOP, "choose a place you may write"),
    ],
)
def test_the_message_says_what_to_do(code: int, remedy: str) -> None:
    with pytest.raises(WriteError, match=rf"^/x/y: cannot be written .*{remedy}$"), named(Path("/x/y")):
        raise OSError(code, os.strerror(code))
