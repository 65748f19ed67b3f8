"""A second data set of the same classes: the test pictures as a camera in poor light would take them.

    python benchmarks/ccp/make_dark.py DIR DARK --masks parts

Writes `images/test` to `DARK/images` at a third of the brightness with the noise of a sensor (deviation 6 of 255,
seeded by position) and `parts/test` to `DARK/parts` as it is, for `snowmelt compare --transfer DARK`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

BRIGHTNESS, NOISE = 1 / 3, 6.0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--masks", default="parts", help="name of the masks' folder (parts)")
    arguments = parser.parse_args()
    (arguments.target / "images").mkdir(parents=True)
    masks = arguments.source / arguments.masks
    shutil.copytree(masks / "test", arguments.target / arguments.masks)
    for extra in masks.glob("*.txt"):
        shutil.copy(extra, arguments.target / arguments.masks)
    pictures = sorted((arguments.source / "images" / "test").iterdir())
    for position, path in enumerate(pictures):
        darken(path, arguments.target / "images" / f"{path.stem}.png", position)
    print(f"{len(pictures)} pictures in {arguments.target}")


def darken(path: Path, target: Path, seed: int) -> None:
    """Write the picture at ``path`` dark and noisy to ``target``."""
    with Image.open(path) as picture:
        light = np.asarray(picture.convert("RGB"), dtype=np.float32)
    noise = np.random.default_rng(seed).normal(0.0, NOISE, light.shape)
    Image.fromarray(np.clip(np.rint(light * BRIGHTNESS + noise), 0, 255).astype(np.uint8)).save(target)


if __name__ == "__main__":
    main()
