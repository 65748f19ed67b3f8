"""Embedded scenes: labelled pictures that are computed from (seed, index) and need no files."""

from __future__ import annotations

import hashlib

import numpy as np
from PIL import Image, ImageFilter

from snowmelt.data.samples import Sample
from snowmelt.data.scene_figures import PARTS, Canvas, draw_ground, draw_look_alike, draw_person
from snowmelt.errors import SnowmeltError

VARIANTS: dict[str, tuple[str, ...]] = {"binary": ("background", "person"), "parts": PARTS}
_COLOURS = 7
_FORMAT = "scene-1"  # to be counted up when the same numbers give other pixels
_SCENE_STREAM = 0x5CE9E  # keeps these random numbers apart from those of ordering and augmentation


class ScenesSource:
    """``count`` square scenes with textured people among look-alikes, under uneven light and noise.

    Scene ``index`` of the source is number ``first + index`` of ``seed``; equal numbers give equal pixels, so sources
    of different ranges are disjoint. ``variant`` "binary": background, person; "parts": the six classes of ``PARTS``.
    A network must go by arrangement: clothing, skin tones, textures and limb-like shapes occur without people too.

    Raises ``SnowmeltError`` for a count below 1, a size below 16, a negative seed or an unknown variant.
    """

    def __init__(self, count: int, seed: int, size: int = 128, variant: str = "binary", first: int = 0) -> None:
        if variant not in VARIANTS:
            raise SnowmeltError(f"scenes: no variant {variant!r}; there are {', '.join(VARIANTS)}", code="data-spec")
        if count < 1 or size < 16 or seed < 0 or first < 0:
            raise SnowmeltError(
                f"scenes: count {count}, size {size}, seed {seed}; the count must be at least 1, the size at least 16, "
                "the seed not negative",
                code="data-spec",
            )
        self.count, self.seed, self.size, self.variant, self.first = count, seed, size, variant, first
        self.classes = VARIANTS[variant]

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Sample:
        if not 0 <= index < self.count:
            raise IndexError(f"scene {index} of {self.count}")
        image, parts = render_scene(self.seed, self.first + index, self.size)
        mask = parts if self.variant == "parts" else (parts > 0).astype(np.uint8)
        return Sample(image, mask, self.name(index))

    def load_reduced(self, index: int, long_side: int) -> Sample:
        return self.load(index)

    def name(self, index: int) -> str:
        return f"scene-{self.first + index:06d}"

    def digest(self, index: int) -> str:
        """Of the numbers that the scene is computed from, and of the drawing's version, in place of its pixels."""
        recipe = f"{_FORMAT}:{self.seed}:{self.first + index}:{self.size}:{self.variant}"
        return hashlib.blake2b(recipe.encode(), digest_size=16).hexdigest()

    def mask_digest(self, index: int) -> str:
        return self.digest(index)

    def check(self) -> None:
        """Nothing to check: no files."""

    def describe(self) -> str:
        return (
            f"{self.count} embedded scenes of {self.size} x {self.size} pixels (seed {self.seed}, from number "
            f"{self.first}), classes {', '.join(self.classes)}"
        )


def render_scene(seed: int, number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(size, size, 3) uint8 picture and (size, size) uint8 labels of ``PARTS``."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([_SCENE_STREAM, seed, number])))
    grey = rng.uniform(30, 220, (_COLOURS, 1))
    canvas = Canvas(size, rng, grey + rng.uniform(-45, 45, (_COLOURS, 3)))
    draw_ground(canvas)
    people = int(rng.integers(1, 4)) if rng.random() < 0.93 else 0
    drawings = [draw_person] * people + [draw_look_alike] * int(rng.integers(3, 9))
    for position in rng.permutation(len(drawings)):  # painter's order: later ones hide earlier ones
        drawings[position](canvas)
    surfaces = np.asarray(canvas.image)
    return _photograph(canvas, surfaces), np.array(canvas.labels, dtype=np.uint8)[surfaces]


def _photograph(canvas: Canvas, surfaces: np.ndarray) -> np.ndarray:
    """Give surfaces their textures, then light, blur and noise the picture."""
    rng, size = canvas.rng, canvas.size
    textures = _textures(rng, size)  # (H, W, T) in [-1, 1]
    count = len(canvas.labels)
    weights = rng.uniform(0, 1, (count, textures.shape[2])) ** 3 * rng.uniform(8, 42, (count, 1))
    tints = np.array(canvas.tints, dtype=np.float32)
    # (H, W): how far each pixel's texture lightens or darkens it
    relief = (weights.astype(np.float32)[surfaces] * textures).sum(axis=2)
    picture = tints[surfaces] + relief[..., None]

    fall_off = rng.uniform(-0.35, 0.35, 2).astype(np.float32)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + fall_off[0] * axis[:, None] + fall_off[1] * axis[None, :] + 0.3 * _noise(rng, size, 3)
    picture = picture * light[..., None] * rng.uniform(0.75, 1.15) * rng.uniform(0.92, 1.08, 3).astype(np.float32)
    softened = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    softened = softened.filter(ImageFilter.BoxBlur(float(rng.uniform(0.2, 0.9)) * size / 128))
    strength = np.float32(rng.uniform(3, 14))
    noisy = np.asarray(softened) + strength * rng.standard_normal((size, size, 3), dtype=np.float32)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _textures(rng: np.random.Generator, size: int) -> np.ndarray:
    """Blotches, grain, two runs of stripes and checks; every surface mixes its own from these."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) * np.float32(128 / size)
    stripes = []
    for _ in range(2):
        slope = rng.uniform(-1, 1, 2).astype(np.float32)
        period = np.float32(rng.uniform(4, 14))
        phase = (slope[0] * rows + slope[1] * columns) / period
        stripes.append(np.where(phase - np.floor(phase) < 0.5, np.float32(-1), np.float32(1)))
    cell = int(rng.integers(3, 9))
    checks = ((rows // cell + columns // cell) % 2) * 2 - 1
    return np.stack([_noise(rng, size, 8), _noise(rng, size, 40), *stripes, checks], axis=2)


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) float32 in [-1, 1], smooth over size / cells pixels; Pillow's resize is exact integer arithmetic."""
    grid = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(grid.resize((size, size), Image.Resampling.BILINEAR), dtype=np.float32) / 127.5 - 1
