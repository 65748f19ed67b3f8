"""Which images stood in steps that were skipped, found out without a step that waits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.training.engine import Engine
from snowmelt.training.state import TrainState

MOST_STEPS = 4096  # that are remembered between two readings; of a longer stretch, the newest
MOST_TOLD = 4  # skipped steps of one reading whose images are told; one bad image is in one step of an epoch
MOST_KEPT = 64  # images that the state carries


class Skipped(NamedTuple):
    """How many steps were skipped, and the images, of all processes, that stood in the newest of them."""

    steps: int
    images: list[int]


class Suspects:
    """The images of each step since the last reading, next to the device's verdict on the step.

    Which images a step saw is known before it runs, so only the verdict, a single bool, is left on the device until
    somebody reads it. Nothing is copied at a step.
    """

    def __init__(self, engine: Engine, images_per_step: int) -> None:
        """``images_per_step``: of this process, at most."""
        self._engine = engine
        self._width = images_per_step
        self._steps: deque[tuple[Tensor, Tensor]] = deque(maxlen=MOST_STEPS)

    def add(self, indices: Tensor, finite: Tensor) -> None:
        """Remember one step: the (B,) positions in the source of this process's images, and () bool on the device."""
        self._steps.append((indices.clone(), finite))  # a copy: the batch's own may lie in a worker's shared memory

    def read(self, state: TrainState) -> Skipped:
        """What was skipped since the last reading; its images go into the state. Waits for the device."""
        if not self._steps:
            return Skipped(0, [])
        verdicts = torch.stack([finite for _, finite in self._steps]).tolist()  # the same in every process
        skipped = [indices for (indices, _), finite in zip(self._steps, verdicts, strict=True) if not finite]
        self._steps.clear()
        images = self._gather(skipped[-MOST_TOLD:]) if skipped else []
        state.suspects = [*state.suspects, *images][-MOST_KEPT:]
        return Skipped(len(skipped), images)

    def _gather(self, steps: list[Tensor]) -> list[int]:
        """Every process's images in these steps, in the order of the steps; fillers are left out."""
        engine, shape = self._engine, (len(steps), self._engine.world_size, self._width)
        found = torch.zeros(shape, dtype=torch.int64)
        for row, indices in enumerate(steps):
            found[row, engine.rank, : len(indices)] = indices.clamp(min=-1).cpu() + 1  # 0: none there
        if engine.world_size > 1:
            found = engine.sum_over_processes(found.to(engine.device)).cpu()  # every other row is zero
        return [number - 1 for number in found.flatten().tolist() if number > 0]
