"""The content of a ``comparison.json`` with any number of arms, made by the room that makes real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from snowmelt.study import ArmResult, ArmRun, Comparison, TeacherResult

NAMES = ("plain", "kd", "cooled", "thaw", "cooled+thaw", "t1", "t2", "t4", "kd+thaw")


def compared(arms: int, seeds: int = 3, teacher: bool = True, names: dict[int, str] | None = None) -> Any:
    """Scores near 0.6 on ten images of three classes."""
    rng = np.random.default_rng(0)

    def matrices(skill: float) -> np.ndarray:
        noise = rng.integers(10, 30, (10, 3, 3))
        return noise + np.eye(3, dtype=np.int64) * int(120 * skill) + rng.integers(0, 9, (10, 3, 3))

    def run(position: int, seed: int) -> ArmRun:
        curve = tuple(0.5 + 0.15 * (1 - 0.8**epoch) + 0.01 * position for epoch in range(20))
        return ArmRun(
            seed=seed,
            epochs=20,
            steps=200,
            best_epoch=19,
            val_miou=curve[-1],
            val_curve=curve,
            seconds_curve=tuple(12.5 * (epoch + 1) for epoch in range(20)),
            images_per_second=10.0 + position,
            matrices=matrices(1 + 0.1 * position),
            transfer=matrices(0.8) if teacher else None,
            agreement=0.9 if position else None,
        )

    chosen = [(names or {}).get(position, NAMES[position]) for position in range(arms)]
    results = tuple(
        ArmResult(name, f"what {name} is", position > 0, tuple(run(position, seed) for seed in range(seeds)))
        for position, name in enumerate(chosen)
    )
    taught = TeacherResult("b4", 0.7, matrices(2), matrices(1.5), 300.0, 12.0) if teacher else None
    return Comparison("parts", "test", ("a", "b", "c"), "epochs", chosen[0], results, taught).to_dict()
