"""What was found out about picture and mask files, so that no unchanged file is read twice."""

from __future__ import annotations

import functools
import struct
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.digests import file_digest
from snowmelt.data.file_memo import FileMemo
from snowmelt.data.images import count_values, probe_image, read_labels
from snowmelt.data.labels import LabelsFound

_SIZE = struct.Struct("<qq")
_MASK = struct.Struct("<qq?32s")  # height, width, bilevel, a bit for each of the values 0 to 255


@dataclass(frozen=True)
class MaskFound:
    """A mask file's size, and the labels in it."""

    height: int
    width: int
    labels: LabelsFound


class FileMemory:
    """Sizes, digests and labels of files, looked up where the file is as it was and read where not.

    Survives pickling: what it knows lies in ``folder``. Findings are saved now and then, by ``save`` and at the end.

    Args:
        folder: where the findings are kept; None: nowhere, every call reads its file.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        if folder is None:
            return
        self._sizes = FileMemo(folder / "pictures.memo", _SIZE.size, _encode_size, _decode_size)
        self._digests = FileMemo(folder / "digests.memo", 16, bytes.fromhex, bytes.hex)
        self._masks = FileMemo(folder / "masks.memo", _MASK.size, _encode_mask, _decode_mask)
        weakref.finalize(self, _save, (self._sizes, self._digests, self._masks))  # at the latest when the program ends

    def picture_size(self, path: Path) -> tuple[int, int]:
        """As ``probe_image``: (height, width) of a picture that can be read."""
        if self.folder is None:
            return probe_image(path)
        return self._sizes.recall(path, lambda: probe_image(path))

    def digest(self, path: Path) -> str:
        """As ``file_digest``."""
        if self.folder is None:
            return file_digest(path)
        return self._digests.recall(path, lambda: file_digest(path))

    def mask(self, path: Path) -> MaskFound:
        """What a mask file holds. Raises ``SnowmeltError`` as ``read_labels`` does."""
        if self.folder is None:
            return find_mask(path)
        return self._masks.recall(path, lambda: find_mask(path))

    def save(self) -> None:
        if self.folder is not None:
            _save((self._sizes, self._digests, self._masks))

    def __reduce__(self) -> tuple[Any, ...]:
        return FileMemory, (self.folder,)


def find_mask(path: Path) -> MaskFound:
    """Size and labels of a mask file; raises ``SnowmeltError`` as ``read_labels`` does."""
    labels, bilevel = read_labels(path)
    values = np.flatnonzero(count_values(labels)).tolist()  # counting is faster than sorting: labels are small
    return MaskFound(labels.shape[0], labels.shape[1], LabelsFound(frozenset(values), bilevel))


def _save(memos: tuple[FileMemo[Any], ...]) -> None:
    for memo in memos:
        memo.save()


def _encode_size(size: tuple[int, int]) -> bytes:
    return _SIZE.pack(*size)


def _decode_size(encoded: bytes) -> tuple[int, int]:
    height, width = _SIZE.unpack(encoded)
    return height, width


def _encode_mask(found: MaskFound) -> bytes | None:
    if any(value > 255 for value in found.labels.values):
        return None  # of a file that is refused anyway
    bits = sum(1 << value for value in found.labels.values)
    return _MASK.pack(found.height, found.width, found.labels.bilevel, bits.to_bytes(32, "little"))


@functools.lru_cache(maxsize=4096)  # most masks of a data set are alike
def _decode_mask(encoded: bytes) -> MaskFound:
    height, width, bilevel, packed = _MASK.unpack(encoded)
    bits = int.from_bytes(packed, "little")
    return MaskFound(height, width, LabelsFound(frozenset(value for value in range(256) if bits >> value & 1), bilevel))
