"""The pictures of a prediction one by one, of one size, so that a page can put them over each other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from snowmelt.evaluation import error_map, mean_iou, overlay_mask
from snowmelt.evaluation.overlays import IGNORED
from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.predictions import Prediction, file_stem
from snowmelt.reporting.run_folder import RunFolder

SIDE = 384  # pixels of the longer side: sharp on a phone, a few kilobytes each
LAYERS = ("image", "truth", "teacher", "student", "errors")


def save_layers(folder: RunFolder, predictions: Iterable[Prediction], classes: Sequence[str]) -> None:
    """Write ``predictions/layers/*.webp`` and ``predictions/layers.json``, which names them; earlier ones go.

    Each entry has the image's name, the mIoU of student and teacher on it, and a file for each layer.
    """
    target = folder.predictions / "layers"
    target.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, Any]] = []
    written: set[str] = set()
    for number, each in enumerate(predictions):
        entry: dict[str, Any] = {"name": each.name, "miou": _score(each.student, each.truth, len(classes))}
        if each.teacher is not None:
            entry["teacher_miou"] = _score(each.teacher, each.truth, len(classes))
        names = write_layers(target, number, each, classes)
        entry["layers"] = {layer: f"layers/{name}" for layer, name in names.items()}
        written.update(names.values())
        entries.append(entry)
    replace_file(folder.predictions / "layers.json", json.dumps({"format": 1, "images": entries}, indent=1) + "\n")
    for path in target.glob("*.webp"):
        if path.name not in written:
            path.unlink()


def write_layers(target: Path, number: int, each: Prediction, classes: Sequence[str]) -> dict[str, str]:
    """The pictures of one prediction, in a folder that is there; the name of each layer's file."""
    names = {}
    for layer, picture in _pictures(each, len(classes)).items():
        names[layer] = f"{number:02d}_{file_stem(each.name)[:60]}_{layer}.webp"
        Image.fromarray(picture).save(target / names[layer], quality=82, method=2)
    return names


def _pictures(each: Prediction, classes: int) -> dict[str, np.ndarray]:
    scale = SIDE / max(each.image.shape[:2])
    size = (max(1, round(each.image.shape[1] * scale)), max(1, round(each.image.shape[0] * scale)))
    image = np.asarray(Image.fromarray(each.image).resize(size, Image.Resampling.BICUBIC))
    truth, student = _larger(each.truth, size), _larger(each.student, size)
    pictures = {"image": image, "truth": overlay_mask(image, truth, classes)}
    if each.teacher is not None:
        pictures["teacher"] = overlay_mask(image, _larger(each.teacher, size), classes)
    pictures["student"] = overlay_mask(image, student, classes)
    pictures["errors"] = error_map(image, truth, student)
    return pictures


def _larger(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(np.asarray(mask).astype(np.uint8)).resize(size, Image.Resampling.NEAREST))


def _score(prediction: np.ndarray, truth: np.ndarray, classes: int) -> float | None:
    value, _ = mean_iou(np.asarray(prediction), np.asarray(truth), classes, IGNORED)
    return value if math.isfinite(value) else None
