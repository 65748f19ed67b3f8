"""Runs as event sequences: what training would tell, without any training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from snowmelt.reporting import RunFolder
from snowmelt.schedules import LearningRateSchedule, Schedules, TemperatureSchedule, ThawSchedule, WeightSchedule
from snowmelt.training.events import (
    EpochEnded,
    EpochRecord,
    Event,
    RunEnded,
    RunStarted,
    StageStarted,
    StepEnded,
)

BLOCKS = tuple(f"blocks.{index}" for index in range(6, -1, -1))
TERMS = ("total", "task", "distill")


class FakeRun:
    """The events of a run whose every figure is a function of epoch and step, so that a resume repeats them."""

    def __init__(
        self,
        epochs: int = 6,
        steps: int = 2,
        classes: int = 2,
        teacher: bool = True,
        start: int = 2,
        every: int = 1,
        weights: Mapping[str, WeightSchedule] | None = None,
    ) -> None:
        self.epochs, self.steps = epochs, steps
        self.classes = ("background", "person", "traffic light", "dog, small", "a", "b", "c")[:classes]
        self.teacher = teacher
        self.schedules = Schedules(
            epochs=epochs,
            base_lr=1e-3,
            blocks=BLOCKS,
            thaw=ThawSchedule(start=start, every=every),
            learning_rate=LearningRateSchedule(),
            temperature=TemperatureSchedule() if teacher else None,
            weights=weights or {},
        )

    def started(self, first_epoch: int = 0, first_step: int = 0, resumed: bool = False) -> RunStarted:
        return RunStarted(
            name="fake",
            epochs=self.epochs,
            steps_per_epoch=self.steps,
            last_step=self.epochs * self.steps,
            first_epoch=first_epoch,
            first_step=first_step,
            classes=self.classes,
            groups=("decoder", *BLOCKS),
            device="cpu",
            precision="32",
            effective_batch=4,
            parameters=6_251_469,
            resumed=resumed,
        )

    def stage(self, epoch: int) -> StageStarted:
        thawed = self.schedules.thawed_at(epoch)
        return StageStarted(epoch, thawed, ("decoder", *BLOCKS[:thawed]), 1000 * (thawed + 1))

    def step(self, epoch: int, step_in_epoch: int) -> StepEnded:
        step = epoch * self.steps + step_in_epoch
        return StepEnded(
            step=step,
            epoch=epoch,
            step_in_epoch=step_in_epoch,
            temperature=self.schedules.temperature_at(epoch),
            thawed_blocks=self.schedules.thawed_at(epoch),
            learning_rates=self.schedules.learning_rates_at((step - 1) / self.steps),
            losses={term: 1 / (step + index) for index, term in enumerate(TERMS)},
            images=4,
        )

    def record(self, epoch: int, step_in_epoch: int | None = None, speed: float = 40.0) -> EpochRecord:
        done = self.steps if step_in_epoch is None else step_in_epoch
        share = (epoch + done / self.steps) / self.epochs
        iou = {name: 0.9 * share / (index + 1) for index, name in enumerate(self.classes)}
        if len(self.classes) > 2:
            iou[self.classes[2]] = math.nan
        present = [value for value in iou.values() if not math.isnan(value)]
        return EpochRecord(
            epoch=epoch,
            step=epoch * self.steps + done,
            complete=done == self.steps,
            temperature=self.schedules.temperature_at(epoch),
            thawed_blocks=self.schedules.thawed_at(epoch),
            learning_rates=self.schedules.learning_rates_at(epoch),
            train={term: (1.1 - share) / 3 * (index + 1) for index, term in enumerate(TERMS)},
            val={term: (1.2 - share) / 3 * (index + 1) for index, term in enumerate(TERMS)},
            miou=sum(present) / len(present),
            iou=iou,
            teacher_miou=0.8 if self.teacher else None,
            agreement=0.5 + share / 3 if self.teacher else None,
            skipped_steps=0,
            best=done == self.steps,
            **self._weights(epoch),
            timing={"seconds": 3.0, "images_per_second": speed, "peak_memory_mb": 100.5},
        )

    def _weights(self, epoch: int) -> dict[str, Any]:
        weights = self.schedules.weights_at(epoch)
        alpha = weights.pop("alpha", None)
        return {"alpha": alpha, "weights": weights} if weights or alpha is not None else {}

    def epoch(self, epoch: int, first: int = 1, last: int | None = None, speed: float = 40.0) -> list[Event]:
        """Steps ``first``..``last`` of an epoch, and its end if ``last`` is not given."""
        events: list[Event] = []
        if epoch == 0 or self.schedules.thawed_at(epoch) != self.schedules.thawed_at(epoch - 1):
            events.append(self.stage(epoch))
        events += [self.step(epoch, step) for step in range(first, (last or self.steps) + 1)]
        if last is None:
            events.append(EpochEnded(self.record(epoch, speed=speed)))
        return events

    def ended(self) -> RunEnded:
        last = self.epochs - 1
        return RunEnded(self.epochs * self.steps, last, self.record(last).miou, "complete")

    def whole(self) -> list[Event]:
        events: list[Event] = [self.started()]
        for epoch in range(self.epochs):
            events += self.epoch(epoch)
        return [*events, self.ended()]

    def rest(self, epoch: int, step_in_epoch: int = 0) -> list[Event]:
        """A resumed run from a checkpoint in ``epoch`` after ``step_in_epoch`` steps of it, to the end."""
        events: list[Event] = [self.started(epoch, epoch * self.steps + step_in_epoch, resumed=True)]
        for later in range(epoch, self.epochs):
            events += self.epoch(later, first=step_in_epoch + 1 if later == epoch else 1, speed=7.0)
        return [*events, self.ended()]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "experiments" / "fake")


@pytest.fixture(scope="session")
def fake_run() -> Callable[..., FakeRun]:
    return FakeRun
