"""Photograph-like JPEG files with COCO annotations, made on the spot: nothing is downloaded, every machine has them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

QUALITY = 90
POINTS = 24  # of a region's outline; COCO's own have about as many


def make_coco(
    folder: Path,
    count: int,
    *,
    classes: int = 2,
    width: int = 640,
    height: int = 480,
    regions: int = 7,
    seed: int = 0,
) -> str:
    """``count`` pictures with ``regions`` outlined regions each, as a SPEC for ``--data``.

    Noise of several scales makes the files as large, and so about as slow to decode, as photographs of that size
    (100 kB at 640 x 480). Each category has a colour of its own, so there is something to learn.

    Args:
        classes: background included.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    records: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number in range(count):
        outlines = [(int(rng.integers(1, classes)), _outline(rng, width, height)) for _ in range(regions)]
        name = f"{number:06d}.jpg"
        _picture(rng, width, height, outlines).save(images / name, quality=QUALITY)
        records.append({"id": number + 1, "file_name": name, "width": width, "height": height})
        annotations += [
            _annotation(len(annotations) + place, number + 1, category, outline)
            for place, (category, outline) in enumerate(outlines, start=1)
        ]
    categories = [{"id": category, "name": f"thing-{category}"} for category in range(1, classes)]
    target = folder / "annotations.json"
    target.write_text(json.dumps({"images": records, "annotations": annotations, "categories": categories}))
    return f"coco:{images}:{target}"


def _outline(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """(POINTS, 2) of a ragged region around a random centre."""
    centre = rng.uniform(0.1, 0.9, 2) * (width, height)
    radius = min(width, height) * rng.uniform(0.05, 0.25) * rng.uniform(0.6, 1.2, POINTS)
    angle = np.linspace(0, 2 * math.pi, POINTS, endpoint=False)
    points = centre + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    return np.clip(points, 0, (width - 1, height - 1)).round(1)


def _picture(rng: np.random.Generator, width: int, height: int, outlines: list[tuple[int, np.ndarray]]) -> Image.Image:
    plain = Image.new("RGB", (width, height), tuple(int(value) for value in rng.integers(60, 190, 3)))
    draw = ImageDraw.Draw(plain)
    for category, outline in outlines:
        colour = np.random.default_rng(category).integers(20, 235, 3) + rng.integers(-20, 20, 3)
        draw.polygon([tuple(point) for point in outline], fill=tuple(int(value) for value in colour))
    noise = sum(_noise(rng, width, height, cell) * strength for cell, strength in ((64, 40), (16, 22), (4, 14)))
    grain = rng.standard_normal((height, width, 1), dtype=np.float32) * 5
    return Image.fromarray(np.clip(np.asarray(plain) + noise + grain, 0, 255).astype(np.uint8))


def _noise(rng: np.random.Generator, width: int, height: int, cell: int) -> np.ndarray:
    """(H, W, 3) float32 in [-1, 1], smooth over ``cell`` pixels."""
    shape = (max(2, height // cell), max(2, width // cell), 3)
    grid = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32) / 127.5 - 1


def _annotation(identity: int, image: int, category: int, outline: np.ndarray) -> dict[str, Any]:
    x, y = outline[:, 0], outline[:, 1]
    area = abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
    left, top = float(x.min()), float(y.min())
    return {
        "id": identity,
        "image_id": image,
        "category_id": category,
        "segmentation": [outline.reshape(-1).tolist()],
        "bbox": [left, top, float(x.max()) - left, float(y.max()) - top],
        "area": area,
        "iscrowd": 0,
    }
