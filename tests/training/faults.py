"""Runs in which the teacher says nothing finite for a while, at the steps that a test wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny_runs import start_run

from snowmelt.data import Batch
from snowmelt.training import Listener, TrainingRun
from snowmelt.training.events import Event, RolledBack, RunStarted, StepEnded


class Fault(Listener):
    """The teacher's answers are NaN in the steps that ``bad`` names (by steps done before), until rates are low enough.

    Args:
        heals_at: the factor on all rates at which everything is well again; 0: never.
        rank: of the only process in which it happens; ``None``: in all.
    """

    def __init__(
        self, run: TrainingRun, bad: Callable[[int], bool], heals_at: float = 0.0, rank: int | None = None
    ) -> None:
        self.done = 0
        self._factor = 1.0
        teacher = run.teacher
        assert teacher is not None
        here = rank is None or run.engine.rank == rank

        def answer(batch: Batch) -> torch.Tensor:
            logits = teacher(batch)
            state = self._factor > heals_at and bad(self.done)
            return logits * float("nan") if here and state else logits

        run.teacher, run.teacher_name = answer, "Tiny"
        run.announcer.listeners.append(self)

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted | RolledBack):
            self.done = event.first_step
        if isinstance(event, RolledBack):
            self._factor = event.factor
        elif isinstance(event, StepEnded):
            self.done = event.step


CONSTANT: dict[str, Any] = {"schedule": "constant", "warmup": 0.0}


def start_faulty(
    folder: Path,
    bad: Callable[[int], bool],
    heals_at: float = 0.0,
    *,
    listeners: tuple[Listener, ...] = (),
    factor: float = 1.0,
    rank: int | None = None,
    **changes: Any,
) -> tuple[TrainingRun, Fault]:
    """A run with a fault; two bad steps in a row take it back. ``factor``: of the checkpoint that it goes on from."""
    training = {"max_skipped": 2, **changes.pop("training", {})}
    run = start_run(folder, listeners=listeners, training=training, optimizer=CONSTANT, **changes)
    fault = Fault(run, bad, heals_at, rank)
    fault._factor = factor
    return run, fault
