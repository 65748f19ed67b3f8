"""A small data set of scenes in files, to be spoilt in one way after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from snowmelt.data import ScenesSource

SIDE = 64


def write_scenes(root: Path, counts: dict[str, int], variant: str = "parts") -> Path:
    """``root/SPLIT/images`` and ``masks``; an empty split's name gives ``root/images``."""
    source = ScenesSource(sum(counts.values()), 5, SIDE, variant)
    index = 0
    for split, count in counts.items():
        for folder in ("images", "masks"):
            (root / split / folder).mkdir(parents=True)
        for _ in range(count):
            scene = source.load(index)
            Image.fromarray(scene.image).save(root / split / "images" / f"{index:03d}.png")
            Image.fromarray(scene.mask).save(root / split / "masks" / f"{index:03d}.png")
            index += 1
    return root


def change_mask(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    Image.fromarray(change(np.array(Image.open(path)))).save(path)
