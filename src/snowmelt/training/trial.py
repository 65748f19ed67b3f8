"""What a stage costs, tried out: real steps on real batches, after which nothing has happened."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch

from snowmelt.data import Batch
from snowmelt.training.keeping import everything_kept
from snowmelt.training.memory import read_peak, reset_peak
from snowmelt.training.run import TrainingRun
from snowmelt.training.seeding import seed_step
from snowmelt.training.state import TrainState
from snowmelt.training.step import train_step


@dataclass(frozen=True)
class StageCost:
    """What one stage needs; with several processes, that of the one that needs most.

    ``seconds`` is the median over the steps that were tried, from the end of one step to the end of the next, so that
    waiting for the next batch is in it. ``peak_bytes`` is what ``training/memory.py`` measures: the device's memory on
    a GPU, all that the process holds on a CPU.
    """

    seconds: float  # of one optimizer step
    peak_bytes: int


def try_stages(run: TrainingRun, thawed: Sequence[int], steps: int = 3) -> dict[int, StageCost]:
    """The cost of an optimizer step with each of these numbers of thawed blocks.

    Each stage makes a step that is not timed (memory is allocated, a network is compiled) and ``steps`` that are, on
    the run's first batches. They are tried in rising order, as a run meets them: moments of blocks that thawed before
    are there. Afterwards the run is as it was before, to the bit; only its network has moved to the run's device. With
    several processes all of them have to call this.

    Raises:
        SnowmeltError: a number of blocks that the encoder does not have.
    """
    with trying(run) as trial:
        return {count: trial.cost(count, steps) for count in sorted(set(thawed))}


@contextmanager
def trying(run: TrainingRun) -> Iterator[Trial]:
    """Stages to try out, and the run as it was before once that is over."""
    with everything_kept(run) as copies:
        run.stepper = run.engine.set_up(run.optimizer)
        yield Trial(run, copies if run.engine.device.type == "cpu" else 0)
    reset_peak(run.engine.device)  # the peak of the trial is none of the run's


class Trial:
    """Tries out stages of a run inside ``trying``.

    Args:
        overhead: bytes that the trial itself holds where memory is measured.
    """

    def __init__(self, run: TrainingRun, overhead: int) -> None:
        self._run = run
        self._overhead = overhead
        self._stage: int | None = None

    def cost(self, thawed: int, steps: int, micro_batch: int | None = None) -> StageCost:
        """The cost of a stage; ``micro_batch`` images at a time, without it as many as the run's options say."""
        run = self._run
        if thawed != self._stage:
            run.thaw.to(thawed)
            run.module = run.engine.wrap(run.learner, before=run.module)
            self._stage = thawed
        run.learner.train()
        reset_peak(run.engine.device)
        seconds = statistics.median(self._durations(steps, micro_batch))
        peak = read_peak(run.engine.device) - self._overhead
        most_seconds, most_bytes = run.engine.largest(seconds, peak)
        return StageCost(most_seconds, int(most_bytes))

    def _durations(self, steps: int, micro_batch: int | None) -> list[float]:
        """Seconds of each step but the first."""
        run = self._run
        temperature, weights = run.schedules.temperature_at(0), run.weights_at(TrainState())
        ends = []
        for number, batch in enumerate(first_batches(run, steps + 1)):
            seed_step(run.options.seed, 0, number, run.engine.rank)
            train_step(run, batch, temperature, weights, micro_batch)
            wait_for(run.engine.device)
            ends.append(time.perf_counter())
        return [end - before for before, end in pairwise(ends)]


def first_batches(run: TrainingRun, count: int) -> Iterator[Batch]:
    """The first ``count`` batches of the run, over as many epochs as they take."""
    epoch = 0
    while True:
        run.sampler.set_position(epoch, 0)
        for batch in run.train_batches:
            yield batch
            count -= 1
            if count == 0:
                return
        epoch += 1


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
