"""Pictures that look alike: a hash that survives compression and resizing, and the pairs whose hashes nearly agree."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 16  # the hash compares neighbours on a grid of so many rows and columns
BITS = SIDE * SIDE
BYTES = BITS // 8
NEAR = 32
"""Bits of 256 in which the hashes of a picture and its copy may differ. docs/data.md has what that finds and misses."""
ALIKE = 0.93
"""Least ``resemblance`` of the two, looked at again."""
FLAT = 4.0  # grey levels: with less deviation a picture has no gradients worth a hash
MOST = 100_000  # pictures; the pairs of more would take minutes
_BLOCK = 512  # rows compared at a time with eight times as many columns: 16 MB of differences


def picture_hash(picture: np.ndarray) -> tuple[np.ndarray, bool]:
    """(32,) uint8: for each cell of a 16 x 16 grid whether it is darker than its right neighbour; and if it is flat.

    A difference hash, after N. Krawetz, "Kind of Like That" (2013), with four times the usual bits. A flat picture,
    such as a blank page, is like every other one, so nothing follows from its hash.
    """
    small = Image.fromarray(picture).convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.int16)
    return np.packbits(grey[:, :-1] < grey[:, 1:]), bool(grey.std() < FLAT)


def near_pairs(hashes: np.ndarray, most: int = NEAR) -> list[tuple[int, int, int]]:
    """(i, j, bits that differ) of all pairs i < j that differ in at most ``most`` bits; ``hashes`` (N, 32) uint8.

    All pairs are compared: a quarter of the words first, the rest where these are near. 10,000 take half a second.
    """
    words = np.ascontiguousarray(hashes).view(np.uint64)  # (N, 4)
    found: list[tuple[int, int, int]] = []
    for top in range(0, len(words), _BLOCK):
        rows = words[top : top + _BLOCK]
        for left in range(top, len(words), 8 * _BLOCK):
            columns = words[left : left + 8 * _BLOCK]
            close = np.bitwise_count(rows[:, None, 0] ^ columns[None, :, 0]) <= most
            first, second = np.nonzero(close)
            ordered = first + top < second + left
            first, second = first[ordered], second[ordered]
            bits = np.bitwise_count(rows[first] ^ columns[second]).sum(axis=1, dtype=np.int64)
            near = np.flatnonzero(bits <= most)
            found += zip((first[near] + top).tolist(), (second[near] + left).tolist(), bits[near].tolist(), strict=True)
    return sorted(found)


def resemblance(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two pictures' colours on a 32 x 32 grid, each about its own mean: 1 for a copy, scaled or not."""
    one, other = _thumbnail(first), _thumbnail(second)
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return 1.0 if scale == 0 else float((one * other).sum() / scale)


def _thumbnail(picture: np.ndarray) -> np.ndarray:
    small = Image.fromarray(picture).resize((32, 32), Image.Resampling.BOX)
    values = np.asarray(small, dtype=np.float64)
    return values - values.mean(axis=(0, 1))
