"""Which images make up which optimizer step, on which process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from snowmelt.data.dataset import Key
from snowmelt.errors import SnowmeltError

_ORDER_STREAM = 0x0DE2  # keeps the order's random numbers apart from those of scenes and augmentation


class StepSampler(Sampler[list[Key]]):
    """For each optimizer step this process's keys ``(epoch, index)``, micro-batches not yet cut.

    ``batch_size`` is per process and micro-batch, so a step holds ``batch_size * accumulate * world_size`` images.
    The order of images depends on (seed, epoch) alone; process r takes every ``world_size``-th image of a step from
    the r-th on. So the processes' shares of a step make up exactly the step that one process would take.

    Every image comes once an epoch. The last step may be short; if only a single image were left for it (batch norm
    cannot train on one value per channel), that image joins the step before. A process whose share of a step is empty
    gets a filler, see ``AugmentedDataset``.

    Raises ``SnowmeltError`` for numbers below 1, a rank outside the world or a position outside the epoch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        *,
        accumulate: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if min(size, batch_size, accumulate, world_size) < 1:
            raise SnowmeltError(
                f"{size} images, batch size {batch_size}, accumulation {accumulate}, {world_size} processes: "
                "each must be at least 1"
            )
        if not 0 <= rank < world_size:
            raise SnowmeltError(f"rank {rank} is not one of {world_size} processes (0 to {world_size - 1})")
        if seed < 0:
            raise SnowmeltError(f"seed {seed}: it must not be negative")
        self.size = size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.effective_batch = batch_size * accumulate * world_size
        self.steps_per_epoch = _step_count(size, self.effective_batch)
        self._epoch = 0
        self._start_step = 0

    def set_position(self, epoch: int, start_step: int = 0) -> None:
        """The next iteration goes through ``epoch`` from optimizer step ``start_step`` on (both from 0)."""
        if epoch < 0 or not 0 <= start_step <= self.steps_per_epoch:
            raise SnowmeltError(
                f"position epoch {epoch}, step {start_step}: an epoch of {self.size} images has steps 0 to "
                f"{self.steps_per_epoch}; was the run started with other data or another batch size?"
            )
        self._epoch = epoch
        self._start_step = start_step

    def __len__(self) -> int:
        """Steps of the next iteration."""
        return self.steps_per_epoch - self._start_step

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self._epoch
        order = epoch_order(self.size, self.seed, epoch)
        for step in range(self._start_step, self.steps_per_epoch):
            first = step * self.effective_batch
            last = None if step == self.steps_per_epoch - 1 else first + self.effective_batch
            images = order[first:last]
            share = images[self.rank :: self.world_size] or [-1 - images[0]]
            yield [(epoch, index) for index in share]


def epoch_order(size: int, seed: int, epoch: int) -> list[int]:
    """The permutation of ``range(size)`` for one epoch."""
    sequence = np.random.SeedSequence([_ORDER_STREAM, seed, epoch])
    return np.random.Generator(np.random.PCG64(sequence)).permutation(size).tolist()


def _step_count(size: int, effective_batch: int) -> int:
    whole, rest = divmod(size, effective_batch)
    lonely = rest == 1 and whole > 0  # never with an effective batch of 1, where nothing rests
    return whole + (1 if rest and not lonely else 0)
