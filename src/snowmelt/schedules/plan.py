"""The plan: everything that the schedules will do in a run, epoch by epoch, before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from snowmelt.errors import SnowmeltError
from snowmelt.schedules.learning_rate import LearningRateSchedule
from snowmelt.schedules.temperature import TemperatureSchedule
from snowmelt.schedules.thaw import ThawSchedule
from snowmelt.schedules.weights import WeightSchedule

DECODER = "decoder"
ALPHA = "alpha"


@dataclass(frozen=True)
class Schedules:
    """The schedules of a run with its length: all that decides what an epoch looks like.

    Args:
        base_lr: learning rate of the decoder and the head before the schedule's factor.
        blocks: names of the encoder's blocks, deepest first.
        temperature: ``None`` for a run without a teacher, which has no temperature.
        weights: schedules of losses by name (``alpha`` is the share of distillation, at most 1); a loss that is not
            named keeps its weight.
    """

    epochs: int
    base_lr: float
    blocks: tuple[str, ...]
    thaw: ThawSchedule
    learning_rate: LearningRateSchedule
    temperature: TemperatureSchedule | None = None
    weights: Mapping[str, WeightSchedule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SnowmeltError(f"epochs is {self.epochs}; a run has at least 1", code="settings-value")
        if not (math.isfinite(self.base_lr) and self.base_lr > 0):
            raise SnowmeltError(
                f"the base learning rate is {self.base_lr}; it must be positive and finite", code="settings-value"
            )
        alpha = self.weights.get(ALPHA)
        if alpha is not None and alpha.highest > 1:
            raise SnowmeltError(
                f"the schedule of alpha rises to {alpha.highest}; a share is at most 1", code="settings-value"
            )

    def temperature_at(self, epoch: int) -> float | None:
        """Temperature of ``epoch``, or ``None`` without a teacher."""
        return None if self.temperature is None else self.temperature.at(epoch, self.epochs)

    def weights_at(self, epoch: int) -> dict[str, float]:
        """The scheduled weights of ``epoch`` by name; empty where none is scheduled."""
        return {name: schedule.at(epoch, self.epochs) for name, schedule in self.weights.items()}

    def thawed_at(self, epoch: int) -> int:
        """Number of encoder blocks that learn in ``epoch``."""
        return self.thaw.blocks_at(epoch, len(self.blocks))

    def learning_rates_at(self, position: float) -> dict[str, float]:
        """Rate of every parameter group at ``position`` epochs: base x schedule x scale, frozen or not.

        A group has its rate from the first step on, so a thaw changes which gradients exist and no rate.
        """
        rate = self.base_lr * self.learning_rate.factor(position, self.epochs)
        return {DECODER: rate, **{block: rate * self.thaw.lr_scale for block in self.blocks}}


@dataclass(frozen=True)
class PlanEpoch:
    """One epoch of the plan; ``learning_rates`` are those of the epoch's first step, ``weights`` the scheduled ones."""

    epoch: int
    temperature: float | None
    thawed_blocks: int
    learning_rates: Mapping[str, float]
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PlanStage:
    """Consecutive epochs with the same trainable set.

    ``temperature_to`` is the next stage's first temperature, in the last stage that of the last epoch. A
    ``conditional`` stage begins later, or never, where what the run shows until then delays it.
    """

    first_epoch: int
    last_epoch: int
    temperature_from: float | None
    temperature_to: float | None
    thawed_blocks: int
    learns: tuple[str, ...]
    learning_rates: Mapping[str, float]
    trainable_parameters: int | None = None
    conditional: bool = False

    @property
    def epochs(self) -> str:
        """The span as it is printed: ``10-14``, or ``3`` for a single epoch."""
        if self.first_epoch == self.last_epoch:
            return str(self.first_epoch)
        return f"{self.first_epoch}-{self.last_epoch}"


@dataclass(frozen=True)
class Plan:
    """All epochs of a run and the stages that they form."""

    epochs: tuple[PlanEpoch, ...]
    stages: tuple[PlanStage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: ``{"epochs": [...], "stages": [...]}``.

        ``weights`` where any is scheduled, ``conditional`` in the stages that are.
        """
        epochs = [asdict(epoch) for epoch in self.epochs]
        for row in epochs:
            if not row["weights"]:
                del row["weights"]
        stages = [{"epochs": stage.epochs, **asdict(stage)} for stage in self.stages]
        for row in stages:
            if not row["conditional"]:
                del row["conditional"]
        return {"epochs": epochs, "stages": stages}


def make_plan(
    schedules: Schedules, parameter_counts: Mapping[str, int] | None = None, conditional: bool = False
) -> Plan:
    """Evaluate the schedules for every epoch.

    Args:
        parameter_counts: parameters in each group by name (``decoder`` and each block); gives each stage its
            number of trainable parameters.
        conditional: every thaw may come later than scheduled, or not at all.

    Raises:
        SnowmeltError: ``parameter_counts`` lacks a group.
    """
    missing = [] if parameter_counts is None else [n for n in (DECODER, *schedules.blocks) if n not in parameter_counts]
    if missing:
        raise SnowmeltError(f"parameter counts of {', '.join(missing)} are missing", code="argument-value")
    epochs = tuple(
        PlanEpoch(
            epoch=epoch,
            temperature=schedules.temperature_at(epoch),
            thawed_blocks=schedules.thawed_at(epoch),
            learning_rates=schedules.learning_rates_at(epoch),
            weights=schedules.weights_at(epoch),
        )
        for epoch in range(schedules.epochs)
    )
    return Plan(epochs=epochs, stages=tuple(_stages(epochs, schedules.blocks, parameter_counts, conditional)))


def _stages(
    epochs: Sequence[PlanEpoch], blocks: Sequence[str], parameter_counts: Mapping[str, int] | None, conditional: bool
) -> list[PlanStage]:
    starts = [
        index for index, row in enumerate(epochs) if index == 0 or row.thawed_blocks != epochs[index - 1].thawed_blocks
    ]
    stages = []
    for start, after in zip(starts, [*starts[1:], len(epochs)], strict=True):
        first, last = epochs[start], epochs[after - 1]
        learns = (DECODER, *blocks[: first.thawed_blocks])
        following = epochs[after] if after < len(epochs) else last
        stages.append(
            PlanStage(
                first_epoch=first.epoch,
                last_epoch=last.epoch,
                temperature_from=first.temperature,
                temperature_to=following.temperature,
                thawed_blocks=first.thawed_blocks,
                learns=learns,
                learning_rates={name: first.learning_rates[name] for name in learns},
                trainable_parameters=(
                    None if parameter_counts is None else sum(parameter_counts[name] for name in learns)
                ),
                conditional=conditional and start > 0,
            )
        )
    return stages
