"""The content of a COCO file as a few arrays, so that a million regions take no more than their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Pieces:
    """Byte strings behind one another: the i-th is ``text[ends[i]:ends[i + 1]]``."""

    ends: np.ndarray  # (n + 1,) int64, from 0
    text: np.ndarray  # (bytes,) uint8

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, index: int) -> bytes:
        return self.text[self.ends[index] : self.ends[index + 1]].tobytes()

    def lengths(self, chosen: slice) -> np.ndarray:
        """Bytes of each of the consecutive strings ``chosen``."""
        return np.diff(self.ends[chosen.start : chosen.stop + 1])

    def together(self, chosen: slice) -> bytes:
        """The consecutive strings ``chosen`` as one."""
        return self.text[self.ends[chosen.start] : self.ends[chosen.stop]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        text = self.text.tobytes()
        ends = self.ends.tolist()
        return (text[first:last] for first, last in pairwise(ends))


@dataclass(frozen=True)
class CocoTable:
    """Images in the file's order and, image by image, their regions of the chosen categories in the file's order.

    Region ``a`` of image ``i`` has ``firsts[i] <= a < firsts[i + 1]``.
    """

    classes: tuple[str, ...]
    names: Pieces  # file names in UTF-8
    heights: np.ndarray  # (images,) int64
    widths: np.ndarray
    firsts: np.ndarray  # (images + 1,) int64
    labels: np.ndarray  # (regions,) uint8, a position in ``classes``
    crowds: np.ndarray  # (regions,) bool
    identities: Pieces  # of regions, as shown in messages
    segmentations: Pieces  # of regions, JSON as in the file

    def __len__(self) -> int:
        return len(self.heights)

    def name(self, index: int) -> str:
        return decode_text(self.names[index])

    def all_names(self) -> Iterator[str]:
        return map(decode_text, self.names)

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) as the file states them."""
        return int(self.heights[index]), int(self.widths[index])


def build_table(
    classes: tuple[str, ...],
    images: Sequence[tuple[str, int, int]],
    owners: Sequence[int],
    labels: Sequence[int],
    crowds: Sequence[bool],
    identities: Sequence[Any],
    segmentations: Sequence[Any],
) -> CocoTable:
    """The table of ``images``, (name, height, width) each, and regions in any order.

    Args:
        owners: for each region the position of its image.
        segmentations: buffers that hold JSON.
    """
    owned = np.array(owners, dtype=np.int64)
    order = np.argsort(owned, kind="stable")
    firsts = np.searchsorted(owned[order], np.arange(len(images) + 1))
    in_order = order.tolist()
    return CocoTable(
        classes,
        join_pieces([encode_text(name) for name, _, _ in images]),
        np.array([height for _, height, _ in images], dtype=np.int64),
        np.array([width for _, _, width in images], dtype=np.int64),
        firsts.astype(np.int64),
        np.array(labels, dtype=np.uint8)[order],
        np.array(crowds, dtype=bool)[order],
        join_pieces([encode_text(str(identities[region])) for region in in_order]),
        join_pieces([segmentations[region] for region in in_order]),
    )


def join_pieces(parts: Sequence[Any]) -> Pieces:
    ends = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=ends[1:])
    return Pieces(ends, np.frombuffer(b"".join(parts), dtype=np.uint8))


def encode_text(text: str) -> bytes:
    """JSON can hold half a surrogate pair, and file names that are no Unicode need them."""
    return text.encode(errors="surrogatepass")


def decode_text(encoded: bytes) -> str:
    return encoded.decode(errors="surrogatepass")
