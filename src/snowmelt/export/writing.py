"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snowmelt.errors import SnowmeltError


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside ``path`` to write to; it takes the place of ``path`` when the block ends well, and goes otherwise.

    Errors: SnowmeltError where the place cannot be written to.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield aside
        _flush(aside)
        os.replace(aside, path)
        _flush(path.parent)
    except OSError as error:
        raise SnowmeltError(
            f"{path}: cannot be written ({error}); choose another place with --output", code="file-unwritable"
        ) from error
    finally:
        aside.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path, ours: frozenset[str]) -> Iterator[Path]:
    """As ``whole_file`` for a folder, which replaces one that holds nothing but files named in ``ours``.

    An old folder is moved aside for the moment between two renames, so it may lie beside the place after a cut, but a
    half one never lies at it.

    Errors: SnowmeltError where something else lies there: it is never removed.
    """
    refuse_strangers(path, ours)
    aside, old = (path.with_name(f".{path.name}.{os.getpid()}.{what}") for what in ("tmp", "old"))
    try:
        aside.mkdir(parents=True)
        yield aside
        for file in aside.iterdir():
            _flush(file)
        _flush(aside)
        if path.exists():
            os.rename(path, old)
        try:
            os.rename(aside, path)
        except BaseException:  # whatever it was, the old one is whole
            if old.exists() and not path.exists():
                os.rename(old, path)
            raise
        _flush(path.parent)
    except OSError as error:
        raise SnowmeltError(
            f"{path}: cannot be written ({error}); choose another place with --output", code="file-unwritable"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def refuse_strangers(path: Path, ours: frozenset[str]) -> None:
    """Raises SnowmeltError unless ``path`` is free, or a folder of nothing but files named in ``ours``."""
    if not path.exists():
        return
    if not path.is_dir():
        raise SnowmeltError(
            f"{path}: is a file, and --card writes a folder; choose another place with --output", code="output-taken"
        )
    strangers = sorted(entry.name for entry in path.iterdir() if entry.name not in ours)
    if strangers:
        raise SnowmeltError(
            f"{path}: holds {strangers[0]}, which is no part of an export; choose another place with --output",
            code="output-taken",
        )


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
