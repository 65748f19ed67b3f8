"""Which images stood in steps that were skipped, found out without a step that waits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.training.causes import FINE, NAMES
from snowmelt.training.engine import Engine
from snowmelt.training.state import TrainState

MOST_STEPS = 4096  # that are remembered between two readings; of a longer stretch, the newest
MOST_TOLD = 4  # skipped steps of one reading whose images are told; one bad image is in one step of an epoch
MOST_KEPT = 64  # images that the state carries


class Skipped(NamedTuple):
    """Steps without an update since the last reading.

    Attributes:
        steps: how many.
        images: positions in the source of what stood in the newest of them, of all processes: the images about which
            teacher or student gave numbers that are not finite, or all where none can be told from the others.
        causes: what was not finite -> in how many of them.
        row: the same of the longest row of such steps, up to its longest; it may have begun before the last reading.
    """

    steps: int
    images: list[int]
    causes: dict[str, int]
    row: dict[str, int]


class Suspects:
    """The images of each step since the last reading, next to the device's verdict on the step.

    Which images a step saw is known before it runs, so only the verdict, a number for the step and a bool for each
    image, is left on the device until somebody reads it. Nothing is copied at a step.
    """

    def __init__(self, engine: Engine, images_per_step: int) -> None:
        """``images_per_step``: of this process, at most."""
        self._engine = engine
        self._width = images_per_step
        self._steps: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=MOST_STEPS)

    def add(self, indices: Tensor, cause: Tensor, sound: Tensor) -> None:
        """Remember one step.

        Args:
            indices: (B,) positions in the source of this process's images; negative for fillers.
            cause: () int64 on the device, why there was no update (``causes.py``), the same in every process.
            sound: (B,) bool on the device, images about which teacher and student gave finite numbers.
        """
        # A copy: the batch's own may lie in a worker's shared memory.
        self._steps.append((indices.clone(), cause, sound))

    def read(self, state: TrainState) -> Skipped:
        """What was skipped since the last reading; images and causes go into the state. Waits for the device."""
        row, longest = dict(state.row_causes), dict(state.row_causes)
        causes: dict[str, int] = {}
        if not self._steps:
            return Skipped(0, [], {}, row)
        verdicts = torch.stack([cause for _, cause, _ in self._steps]).tolist()
        for cause in verdicts:
            if cause == FINE:
                row = {}
                continue
            add_one(causes, NAMES[cause])
            if cause > FINE:
                add_one(row, NAMES[cause])
            if sum(row.values()) > sum(longest.values()):
                longest = dict(row)
        skipped = [step for step, cause in zip(self._steps, verdicts, strict=True) if cause != FINE]
        self._steps.clear()
        images = self._gather(skipped[-MOST_TOLD:]) if skipped else []
        state.suspects = [*state.suspects, *images][-MOST_KEPT:]
        state.row_causes = row
        return Skipped(len(skipped), images, causes, longest)

    def _gather(self, steps: list[tuple[Tensor, Tensor, Tensor]]) -> list[int]:
        """Every process's images in these steps, in the order of the steps; fillers are left out."""
        engine, shape = self._engine, (2, len(steps), self._engine.world_size, self._width)
        found = torch.zeros(shape, dtype=torch.int64)  # of all images, and of those that are not sound
        for row, (indices, _, sound) in enumerate(steps):
            numbers = indices.clamp(min=-1).cpu() + 1  # 0: none there
            found[0, row, engine.rank, : len(indices)] = numbers
            found[1, row, engine.rank, : len(indices)] = numbers * (~sound.cpu())
        if engine.world_size > 1:
            found = engine.sum_over_processes(found.to(engine.device)).cpu()  # every other row is zero
        everything, doubtful = found.flatten(2).tolist()
        told = [odd if any(odd) else every for every, odd in zip(everything, doubtful, strict=True)]
        return [number - 1 for step in told for number in step if number > 0]


def add_one(counts: dict[str, int], name: str) -> None:
    """Count one more of ``name``."""
    counts[name] = counts.get(name, 0) + 1
