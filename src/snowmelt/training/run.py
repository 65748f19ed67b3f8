"""Everything that a training run is made of, as the builder hands it over."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor, nn
from torch.optim import Optimizer

from snowmelt.data import Batch, StepSampler
from snowmelt.losses import Objective
from snowmelt.models import Thaw
from snowmelt.schedules import ALPHA, Schedules
from snowmelt.training.average import WeightAverage
from snowmelt.training.checkpoints import Checkpoints
from snowmelt.training.engine import Engine
from snowmelt.training.events import Announcer
from snowmelt.training.features import FeatureMatching
from snowmelt.training.options import LoopOptions
from snowmelt.training.state import TrainState
from snowmelt.training.stopping import StopRequest

Teaching: TypeAlias = Callable[[Batch], Tensor]
"""A batch on the device -> the teacher's logits (B, C, N, N) about it, float32 and without a graph.

It gets the whole batch because it may look at the images, or at what was stored about them."""


@dataclass
class TrainingRun:
    """The parts of a run. Plain objects only: the loop knows no settings.

    Attributes:
        network: the student itself; ``module`` is what the engine wrapped around it for the current stage.
        optimizer: over all parameter groups from the first step to the last; ``stepper`` is the same one behind
            the engine's loss scaling.
        normalise: uint8 images -> the student's input.
        teacher: teaches in training; ``examiner`` in validation, which is the same one where there is none.
        features: feature matching, whose projections are in the optimizer's decoder group.
        average: of the weights, once the loop has begun to keep one.
        calibrate: gives a random encoder its norm statistics from the given network inputs.
        notices: said at the start and again in the summary.
        teacher_name: what a person calls the one who teaches.
        saved: whether the newest checkpoint could be written; ``False`` only in a run that goes on without.
        name_of: a training image's position in its source -> what a person calls it.
        stop: what the loop looks at after each step; with several processes, all of them have one or none has.
    """

    name: str
    engine: Engine
    network: nn.Module
    thaw: Thaw
    normalise: Callable[[Tensor], Tensor]
    teacher: Teaching | None
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
    examiner: Teaching | None = None
    features: FeatureMatching | None = None
    calibrate: Callable[[Iterable[Tensor]], object] | None = None
    notices: tuple[str, ...] = ()
    teacher_name: str = "the teacher"
    name_of: Callable[[int], str] = "image {}".format
    module: nn.Module | None = None
    stepper: Optimizer | None = None
    average: WeightAverage | None = None
    saved: bool = True
    stop: StopRequest | None = None

    @property
    def learner(self) -> nn.Module:
        """What is wrapped for training steps: the network, with the projections of feature matching where it has any.

        Its forward pass gives logits, with feature matching logits and the projected maps."""
        return self.network if self.features is None else self.features.module

    @property
    def validation_teacher(self) -> Teaching | None:
        """Who is asked about validation images; ``None`` for a run without a teacher."""
        return self.teacher if self.teacher is None or self.examiner is None else self.examiner

    def weights_at(self, state: TrainState) -> dict[str, float]:
        """The objective's weights in the state's epoch: those that follow a schedule, and with a teacher alpha.

        alpha is the scheduled or the constant one, times what a fade leaves of it."""
        weights = self.schedules.weights_at(state.epoch)
        if self.teacher is not None:
            alpha = weights.get(ALPHA, self.objective.alpha)
            weights[ALPHA] = alpha * self.options.fade.factor(state.epoch, state.fade_from)
        return weights

    def thawed_at(self, state: TrainState) -> int:
        """Blocks that learn in the state's epoch: the schedule's, delayed by the guard, capped by memory."""
        scheduled = self.schedules.thawed_at(state.epoch - state.guard.delay)
        return scheduled if state.thaw_cap is None else min(scheduled, state.thaw_cap)

    def rates_at(self, state: TrainState, position: float) -> dict[str, float]:
        """Rate of every parameter group at ``position`` epochs, which lies in the state's epoch.

        The scheduled one, times the warm-up and the guard's factor of each block that learns, and for all of them what
        rollbacks have left.
        """
        scheduled = self.schedules.learning_rates_at(position)
        rates = {name: rate * state.rate_factor for name, rate in scheduled.items()}
        for index, (block, thawed_in) in enumerate(zip(self.schedules.blocks, state.thawed_in, strict=False)):
            rates[block] *= self.options.warmup.factor(position, thawed_in) * state.guard.factor(index)
        return rates

    @property
    def last_step(self) -> int:
        """Optimizer steps after which the run ends."""
        total = self.schedules.epochs * self.sampler.steps_per_epoch
        return total if self.options.max_steps is None else min(total, self.options.max_steps)

    @property
    def effective_batch(self) -> int:
        """Images per optimizer step, all micro-batches and processes together."""
        return self.options.batch_size * self.options.accumulate * self.engine.world_size
