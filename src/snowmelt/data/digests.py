"""Telling pictures by their content: the digest of a file, and the pictures that two sources share."""

from __future__ import annotations

import hashlib
from pathlib import Path

from snowmelt.data.checking import examine_all
from snowmelt.data.samples import Source
from snowmelt.errors import SnowmeltError


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of the file's bytes (BLAKE2b); raises ``SnowmeltError`` naming a file that is not there."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except FileNotFoundError as error:
        raise SnowmeltError(f"{path}: no such file; was it moved or removed?", code="file-missing") from error
    except OSError as error:
        raise SnowmeltError(f"{path}: cannot be read ({error.strerror or error})", code="file-unreadable") from error


def overlap(first: Source, second: Source) -> list[str]:
    """Names in ``first`` of the pictures that ``second`` holds too, under whatever name, in ``first``'s order.

    Equal means equal bytes: the same scene saved twice is not found. Reads every file once.
    Raises ``SnowmeltError`` naming a file that cannot be read.
    """
    known = set(examine_all(second.digest, len(second), second.name))
    digests = examine_all(first.digest, len(first), first.name)
    return [first.name(index) for index, digest in enumerate(digests) if digest in known]
