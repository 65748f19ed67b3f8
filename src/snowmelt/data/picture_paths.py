"""Where the pictures that a file names lie: inside the folder, and there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import NoReturn

from snowmelt.errors import SnowmeltError


def picture_path(file_name: str, folder: Path) -> Path:
    """The path that a file name means; backslashes separate too."""
    return folder / PurePosixPath(file_name.replace("\\", "/"))


def locate(file_name: str, folder: Path, inside: Path, place: str) -> Path:
    """The picture's path. A name that leads out of the folder is refused, by ``..``, root or symbolic link alike.

    ``inside``: the folder without symbolic links. Raises ``SnowmeltError`` that begins with ``place``.
    """
    pure = PurePosixPath(file_name.replace("\\", "/"))
    if not file_name or "\0" in file_name or pure.is_absolute() or ".." in pure.parts:
        raise SnowmeltError(f"{place}: file_name {file_name!r} must be a path inside {folder}", code="annotation-path")
    file = folder / pure
    try:
        resolved = file.resolve()
        exists = resolved.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # link loops, names too long, lone surrogates
        raise SnowmeltError(
            f"{place}: file_name {file_name[:80]!a} is not a usable path", code="annotation-path"
        ) from error
    if not resolved.is_relative_to(inside):
        raise SnowmeltError(
            f"{place}: file_name {file_name!r} leads out of {folder}; copy the picture into the folder",
            code="annotation-path",
        )
    if not exists:
        raise SnowmeltError(
            f"{place}: {file} does not exist; add the picture or remove its entry", code="annotation-path"
        )
    return file


def refuse_twin(file_name: str, place: str) -> NoReturn:
    """The error about a picture that two entries name."""
    raise SnowmeltError(
        f"{place}: file_name {file_name!r} is there twice; give a picture one entry", code="annotation-path"
    )


def check_paths(file_names: Iterable[str], folder: Path, place: Callable[[int], str]) -> None:
    """``locate`` for every name, and none may come twice; raises ``SnowmeltError`` about the first that is wrong.

    Each folder is listed once. Whatever is not plainly a regular file of a real folder (a link, another way to write
    the path, a missing file) is located one by one.
    """
    inside = folder.resolve()
    listings: dict[str, frozenset[str]] = {}
    seen: set[str] = set()
    for position, name in enumerate(file_names):
        base = name.rpartition("/")[2]
        prefix = name[: len(name) - len(base)]  # with its slash: "/a.png" does not lie where "a.png" lies
        listing = listings.get(prefix)
        if listing is None:
            listing = listings[prefix] = _regular_files(prefix, folder, inside)
        if base in listing and "\\" not in name:
            plain = name
        else:
            plain = str(locate(name, folder, inside, place(position)).relative_to(folder))
        plain = os.path.normcase(plain)
        if plain in seen:
            refuse_twin(name, place(position))
        seen.add(plain)


def _regular_files(prefix: str, folder: Path, inside: Path) -> frozenset[str]:
    """Names of the files of a sub-folder that is written plainly and reached without a link; else none."""
    parent = prefix[:-1]
    if prefix and any(part in ("", ".", "..") or "\\" in part or "\0" in part for part in parent.split("/")):
        return frozenset()
    try:
        if Path(os.path.realpath(folder / parent)) != inside / parent:
            return frozenset()
        with os.scandir(folder / parent) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except (OSError, ValueError):
        return frozenset()
