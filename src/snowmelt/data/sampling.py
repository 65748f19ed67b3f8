"""Which images make up which optimizer step, on which process."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from snowmelt.data.dataset import Key
from snowmelt.errors import SnowmeltError

# They keep the order's random numbers apart from those of scenes and augmentation, and from each other.
_ORDER_STREAM, _STEP_STREAM = 0x0DE2, 0x57E9


class StepSampler(Sampler[list[Key]]):
    """For each optimizer step this process's keys ``(epoch, index)``, micro-batches not yet cut.

    ``batch_size`` is per process and micro-batch, so a step holds ``batch_size * accumulate * world_size`` images.
    The order of images depends on (seed, epoch) alone; process r takes every ``world_size``-th image of a step from
    the r-th on. So the processes' shares of a step make up exactly the step that one process would take.

    Every image comes once an epoch. The last step may be short; if only a single image were left for it (batch norm
    cannot train on one value per channel), that image joins the step before. A process whose share of a step is empty
    gets a filler, see ``AugmentedDataset``.

    ``labelled``: of a ``JoinedSource``, the number of labelled images, which come first in it. They are then spread
    evenly: every step holds its share of them, up to one. Within the step they are shuffled, so that no process gets
    all of them.

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
        labelled: int | None = None,
    ) -> None:
        if min(size, batch_size, accumulate, world_size) < 1:
            raise SnowmeltError(
                f"{size} images, batch size {batch_size}, accumulation {accumulate}, {world_size} processes: "
                "each must be at least 1",
                code="settings-value",
            )
        if not 0 <= rank < world_size:
            raise SnowmeltError(
                f"rank {rank} is not one of {world_size} processes (0 to {world_size - 1})", code="argument-value"
            )
        if seed < 0:
            raise SnowmeltError(f"seed {seed}: it must not be negative", code="settings-value")
        if labelled is not None and not 0 <= labelled <= size:
            raise SnowmeltError(f"{labelled} labelled images of {size}: give 0 to {size}", code="argument-value")
        self.size = size
        self.seed = seed
        self.labelled = labelled
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
                f"{self.steps_per_epoch}; was the run started with other data or another batch size?",
                code="run-other-settings",
            )
        self._epoch = epoch
        self._start_step = start_step

    @property
    def position(self) -> tuple[int, int]:
        """Where the next iteration begins: epoch and step in it."""
        return self._epoch, self._start_step

    def __len__(self) -> int:
        """Steps of the next iteration."""
        return self.steps_per_epoch - self._start_step

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self._epoch
        order = epoch_order(self.size, self.seed, epoch, self.labelled)
        for step in range(self._start_step, self.steps_per_epoch):
            first = step * self.effective_batch
            last = None if step == self.steps_per_epoch - 1 else first + self.effective_batch
            images = order[first:last]
            if self.labelled is not None:
                images = _generator(_STEP_STREAM, self.seed, epoch, step).permutation(images).tolist()
            share = images[self.rank :: self.world_size] or [-1 - images[0]]
            yield [(epoch, index) for index in share]


def epoch_order(size: int, seed: int, epoch: int, labelled: int | None = None) -> list[int]:
    """The permutation of ``range(size)`` for one epoch.

    With ``labelled``, the indices below it and the others are shuffled apart and then merged evenly: of the first k,
    ``k * labelled / size`` are labelled, up to a half.
    """
    generator = _generator(_ORDER_STREAM, seed, epoch)
    if labelled is None:
        return generator.permutation(size).tolist()
    others = size - labelled
    order = [*generator.permutation(labelled), *(labelled + generator.permutation(others))]
    # Each lies in the middle of its equal share of the epoch; whole numbers, so that no rounding decides between two.
    middles = [(2 * rank + 1) * others for rank in range(labelled)]
    middles += [(2 * rank + 1) * labelled for rank in range(others)]
    return [int(order[place]) for place in sorted(range(size), key=middles.__getitem__)]


def _generator(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def _step_count(size: int, effective_batch: int) -> int:
    whole, rest = divmod(size, effective_batch)
    lonely = rest == 1 and whole > 0  # never with an effective batch of 1, where nothing rests
    return whole + (1 if rest and not lonely else 0)
