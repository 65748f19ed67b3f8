"""Small picture and mask files, and a small store of maps, for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WriteFolder = Callable[..., Path]


def save_image(path: Path, height: int = 8, width: int = 12, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def save_mask(path: Path, values: tuple[int, ...] = (0, 1), height: int = 8, width: int = 12) -> Path:
    """The values side by side, in equal columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = np.array(values, dtype=np.uint8)[np.arange(width) * len(values) // width]
    Image.fromarray(np.tile(columns, (height, 1))).save(path)
    return path


class NumberedMaps:
    """A store of two planes: (2, 4, 4) uint8 full of 10 x index, and (2,) float32 of index and index + 0.5."""

    size = 16

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        return np.full((2, 4, 4), 10 * index, dtype=np.uint8), np.array([index, index + 0.5], dtype=np.float32)
