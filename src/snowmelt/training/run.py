"""Everything that a training run is made of, as the builder hands it over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from snowmelt.data import Batch, StepSampler
from snowmelt.losses import Objective
from snowmelt.models import Thaw
from snowmelt.schedules import Schedules
from snowmelt.training.checkpoints import Checkpoints
from snowmelt.training.engine import Engine
from snowmelt.training.events import Announcer
from snowmelt.training.options import LoopOptions


class TeacherFunction(Protocol):
    """Images (B, 3, H, W) uint8 -> logits (B, C, H, W) without a graph; normalises by itself."""

    def __call__(self, images: Tensor) -> Tensor: ...


@dataclass
class TrainingRun:
    """The parts of a run. Plain objects only: the loop knows no settings.

    Attributes:
        network: the student itself; ``module`` is what the engine wrapped around it for the current stage.
        optimizer: over all parameter groups from the first step to the last; ``stepper`` is the same one behind
            the engine's loss scaling.
        normalise: uint8 images -> the student's input.
        calibrate: gives a random, frozen encoder its norm statistics from the given network inputs.
        notices: said at the start and again in the summary.
    """

    name: str
    engine: Engine
    network: nn.Module
    thaw: Thaw
    normalise: Callable[[Tensor], Tensor]
    teacher: TeacherFunction | None
    objective: Objective
    schedules: Schedules
    optimizer: Optimizer
    classes: tuple[str, ...]
    sampler: StepSampler
    train_batches: Iterable[Batch]
    val_batches: Iterable[Batch]
    options: LoopOptions
    checkpoints: Checkpoints
    announcer: Announcer = field(default_factory=Announcer)
    calibrate: Callable[[Iterable[Tensor]], object] | None = None
    notices: tuple[str, ...] = ()
    module: nn.Module | None = None
    stepper: Optimizer | None = None

    @property
    def last_step(self) -> int:
        """Optimizer steps after which the run ends."""
        total = self.schedules.epochs * self.sampler.steps_per_epoch
        return total if self.options.max_steps is None else min(total, self.options.max_steps)

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step, all micro-batches and processes together."""
        return self.options.batch_size * self.options.accumulate * self.engine.world_size
