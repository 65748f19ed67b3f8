"""Pictures of what the student predicts, into the run folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snowmelt.evaluation import prediction_panel
from snowmelt.reporting.png import encode_png
from snowmelt.reporting.run_folder import RunFolder


@dataclass(frozen=True)
class Prediction:
    """One image with what is known and what was predicted of it.

    ``image`` is (H, W, 3) uint8 RGB; ``truth``, ``student`` and ``teacher`` are (H, W) class indices, 255 where
    ignored.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray
    student: np.ndarray
    teacher: np.ndarray | None = None


def make_panels(predictions: Iterable[Prediction], classes: Sequence[str]) -> dict[str, np.ndarray]:
    """Labelled rows (height, width, 3) uint8 by name, for files and TensorBoard. A name that returns is numbered."""
    panels: dict[str, np.ndarray] = {}
    for each in predictions:
        name, count = each.name, 1
        while name in panels:
            count += 1
            name = f"{each.name}_{count}"
        panels[name] = prediction_panel(
            each.image, each.truth, each.student, classes, teacher=each.teacher, caption=each.name
        )
    return panels


def save_panels(folder: RunFolder, panels: Mapping[str, np.ndarray]) -> list[Path]:
    """Write each panel of ``make_panels`` into ``predictions/<name>.png``, replacing those of an earlier epoch."""
    folder.predictions.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for name, panel in panels.items():
        stem = file_stem(name)
        path, count = folder.predictions / f"{stem}.png", 1
        while path in paths:
            count += 1
            path = folder.predictions / f"{stem}_{count}.png"
        path.write_bytes(encode_png(panel))
        paths.append(path)
    return paths


def file_stem(name: str) -> str:
    """An image's name, which may hold folders and anything else, as part of a file's name."""
    return re.sub(r"[^\w.-]+", "_", name).strip("._") or "image"
