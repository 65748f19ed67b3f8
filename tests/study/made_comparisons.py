"""Made-up runs: confusion matrices of a wanted quality, and comparisons of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from snowmelt.study import ArmResult, ArmRun, Comparison, TeacherResult

CLASSES = ("ground", "hat", "shoe")
PIXELS = 4000


def matrices(right: float, images: int = 30, seed: int = 0, noise: float = 0.02) -> np.ndarray:
    """(I, 3, 3): about the share ``right`` of each class is right, the rest goes to the next class.

    Which images are hard depends on their number alone, so that runs are paired.
    """
    hard = np.random.default_rng(7).normal(0, 0.05, images)
    generator = np.random.default_rng(seed)
    shares = np.clip(right + hard[:, None] + generator.normal(0, noise, (images, 3)), 0, 1)
    made = np.zeros((images, 3, 3), np.int64)
    for each in range(3):
        made[:, each, each] = np.rint(PIXELS * shares[:, each])
        made[:, each, (each + 1) % 3] = PIXELS - made[:, each, each]
    return made


def run(seed: int, right: float, val: float | None = None, **values: Any) -> ArmRun:
    """One seed; its validation score rises to ``val`` in the second of three epochs of ten seconds and falls again."""
    val = right if val is None else val
    settings: dict[str, Any] = {
        "epochs": 3,
        "steps": 30,
        "best_epoch": 1,
        "val_miou": val,
        "val_curve": (val - 0.2, val, val - 0.1),
        "seconds_curve": (10.0, 20.0, 30.0),
        "images_per_second": 40.0 + seed,
        "matrices": matrices(right, seed=seed + round(1e6 * right)),
    }
    return ArmRun(seed=seed, **{**settings, **values})


def arm(name: str, rights: Sequence[float], **values: Any) -> ArmResult:
    """An arm whose seeds 0, 1, ... have these shares of right pixels."""
    taught = bool(set(name.split("+")) & {"kd", "cooled"})
    runs = tuple(run(seed, right) for seed, right in enumerate(rights))
    return ArmResult(**{"name": name, "description": f"made: {name}", "teacher": taught, "runs": runs, **values})


def compare(*arms: ArmResult, **values: Any) -> Comparison:
    """A comparison on test; the first arm is the base."""
    settings: dict[str, Any] = {"part": "test", "budget": "epochs", "base": arms[0].name}
    return Comparison(name="made", classes=CLASSES, arms=arms, **{**settings, **values})


def teacher(right: float, **values: Any) -> TeacherResult:
    """A teacher with this share of right pixels, an hour of training and a minute of cache."""
    settings: dict[str, Any] = {"training_seconds": 3600.0, "cache_seconds": 60.0}
    return TeacherResult(
        name="big", val_miou=right, **{"matrices": matrices(right, seed=99, noise=0.0), **settings, **values}
    )
