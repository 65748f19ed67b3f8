"""The curves of a run as its metrics.csv holds them: one value an epoch, with no hole in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RATE = "lr/"
DECODER = "lr/decoder"
LOSSES = ("cross_entropy", "dice")
"""The task's own terms. Totals hold the distillation terms too, which move with the temperature and with weights."""


@dataclass(frozen=True)
class Curves:
    """Complete epochs of a run that have a score, oldest first; all arrays are (epochs,).

    Attributes:
        epochs: their numbers.
        score: validation mIoU.
        thawed: thawed blocks.
        train, val: cross-entropy plus Dice, each unweighted, as far as training and validation both have them; NaN
            where an epoch has no such figure.
        rate: the decoder's learning rate, NaN where it is not known.
        teacher: the teacher's validation mIoU, NaN without one.
        blocks: names of the encoder's blocks, deepest first.
        steps: optimizer steps at the end of the last of these epochs.
    """

    epochs: np.ndarray
    score: np.ndarray
    thawed: np.ndarray
    train: np.ndarray
    val: np.ndarray
    rate: np.ndarray
    teacher: np.ndarray
    blocks: tuple[str, ...]
    steps: int

    def __len__(self) -> int:
        return len(self.epochs)

    @property
    def has_losses(self) -> bool:
        """Whether training and validation loss are known of every epoch."""
        return bool(np.isfinite(self.train).all() and np.isfinite(self.val).all())

    @property
    def thaws(self) -> list[int]:
        """Positions of the epochs in which more blocks learn than in the one before."""
        return [int(index) for index in np.flatnonzero(np.diff(self.thawed) > 0) + 1]

    def newly_thawed(self, index: int) -> str:
        """The blocks that the thaw at this position added, by name where they are known."""
        names = self.blocks[int(self.thawed[index - 1]) : int(self.thawed[index])]
        return ", ".join(names) if names else f"number {self.thawed[index]:.0f}"


def read_curves(rows: Sequence[Mapping[str, Any]]) -> Curves:
    """The rows of metrics.csv as curves. Whatever is absent or not a number costs its epoch or its curve, no more."""
    kept: dict[float, Mapping[str, Any]] = {}
    for row in rows:
        needed = [_number(row, name) for name in ("epoch", "miou", "thawed_blocks")]
        if row.get("complete", True) is not False and all(map(math.isfinite, needed)):
            kept[needed[0]] = row
    ordered = [kept[epoch] for epoch in sorted(kept)]
    columns = {name for row in ordered for name in row}
    losses = [name for name in LOSSES if {f"train/{name}", f"val/{name}"} <= columns]

    def column(name: str) -> np.ndarray:
        return np.array([_number(row, name) for row in ordered], dtype=float)

    def loss(part: str) -> np.ndarray:
        if not losses:
            return np.full(len(ordered), np.nan)
        return np.sum([column(f"{part}/{name}") for name in losses], axis=0)

    names = [name for row in ordered[-1:] for name in row if name.startswith(RATE) and name != DECODER]
    steps = _number(ordered[-1], "step") if ordered else 0.0
    return Curves(
        column("epoch"),
        column("miou"),
        column("thawed_blocks"),
        loss("train"),
        loss("val"),
        column(DECODER),
        column("teacher_miou"),
        tuple(name.removeprefix(RATE) for name in names),
        int(steps) if math.isfinite(steps) else 0,
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else math.nan
