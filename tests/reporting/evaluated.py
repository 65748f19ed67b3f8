"""An evaluation as ``evaluation/<split>.json`` holds it, made by hand for any number of classes."""

from __future__ import annotations

from typing import Any

import numpy as np


def evaluated(classes: int = 3, teacher: bool = True, **changes: Any) -> dict[str, Any]:
    """The last class is absent, the one before it was never predicted."""
    names = ["background", *(f"class_{index}" for index in range(1, classes))]
    content = {
        "run": "tiny",
        "split": "test",
        "images": 20,
        "boundary_tolerance": 0.0075,
        "classes": names,
        "student": answerer(names, 0.5),
        "teacher": answerer(names, 0.75) if teacher else None,
        "agreement": {"pixels": 0.9, "miou": 0.61} if teacher else None,
        "by_size": [group("small", 0.0, 0.01, "regions", teacher), group("large", 0.1, 1.0, "regions", teacher)],
        "by_brightness": [group("dark", 3.2, 40.04, "images", teacher), group("bright", 41, 250.5, "images", teacher)],
        "worst": [{"name": "0001.jpg", "miou": 0.125, "teacher_miou": 0.25 if teacher else None, "overlay": "a.png"}],
    }
    return {**content, **changes}


def answerer(names: list[str], value: float) -> dict[str, Any]:
    scores: dict[str, float | None] = dict.fromkeys(names[:-1], value)
    by_class = {key: {**scores, names[-1]: None} for key in ("iou", "dice", "precision", "recall", "boundary_f")}
    by_class["precision"][names[-2]] = None
    confusion = np.eye(len(names), dtype=int) * 100
    confusion[-1] = 0
    row = {"confidence": 0.9, "accuracy": 0.8, "share": 1.0}
    return {
        "miou": value,
        **dict.fromkeys(["mean_dice", "mean_precision", "mean_recall", "mean_boundary_f", "pixel_accuracy"], value),
        "ece": 0.0321,
        **by_class,
        "reliability": [{"confidence": None, "accuracy": None, "share": 0.0}] * 14 + [row],
        "confusion": confusion.tolist(),
    }


def group(name: str, low: float, high: float, what: str, teacher: bool) -> dict[str, Any]:
    return {"group": name, "low": low, "high": high, what: 7, "miou": 0.4, "teacher_miou": 0.5 if teacher else None}
