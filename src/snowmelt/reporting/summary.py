"""The end of a run in plain words."""

from __future__ import annotations

import math

from snowmelt.reporting.csv_cells import Row, Value
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.tables import metrics_row, read_metrics
from snowmelt.training.events import (
    EpochEnded,
    EpochRecord,
    Event,
    Listener,
    Message,
    RolledBack,
    RunEnded,
    RunStarted,
    StageCompiled,
)


class RunSummary(Listener):
    """Follows a run and tells at its end: best epoch, scores by class, the teacher's, and every warning again.

    Args:
        folder: where metrics.csv lies; asked for the best epoch of a resumed run when that was before the cut.
    """

    def __init__(self, folder: RunFolder | None = None) -> None:
        self._folder = folder
        self._started: RunStarted | None = None
        self._ended: RunEnded | None = None
        # Not a row for each epoch: of thousands of them, three such summaries would hold tens of megabytes.
        self._best_row: Row | None = None
        self._last_row: Row | None = None
        self._first_epoch: int | None = None
        self._skipped: dict[int, int] = {}
        self._warnings: list[str] = []
        self._compiled: list[float] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        elif isinstance(event, EpochEnded):
            self._keep(event.record)
        elif isinstance(event, RolledBack):
            self._forget(event.first_epoch)
        elif isinstance(event, Message) and event.level == "warning":
            if event.text not in self._warnings:
                self._warnings.append(event.text)
        elif isinstance(event, StageCompiled):
            self._compiled.append(event.seconds)
        elif isinstance(event, RunEnded):
            self._ended = event

    @property
    def reason(self) -> str | None:
        """Why the run ended, in the word of its last event; ``None`` while it has not, or where nobody listened."""
        return None if self._ended is None else self._ended.reason

    def text(self) -> str:
        """Several lines, without a newline at the end. Says what is known even where the run did not end."""
        lines = [self._headline(), *self._scores()]
        skipped = sum(self._skipped.values()) + sum(int(str(row["skipped_steps"])) for row in self._earlier_rows())
        if skipped:
            lines.append(f"{_count(skipped, 'step')} changed nothing, as something was not finite.")
        if self._compiled:
            stages = _count(len(self._compiled), "stage")
            lines.append(f"Compiling took {sum(self._compiled):.0f} s in {stages}, the first step of each included.")
        if self._warnings:
            lines.append("Warnings of this run:")
            lines.extend(f"  - {text}" for text in self._warnings)
        return "\n".join(lines)

    def _headline(self) -> str:
        name = f"Run {self._started.name}" if self._started else "The run"
        if self._ended is None:
            return f"{name} did not come to its end; go on with --resume."
        steps = _count(self._ended.step, "step")
        planned = _count(self._started.epochs, "epoch") if self._started else "all epochs"
        if self._ended.reason == "max_steps":
            return f"{name} stopped after {steps}, as --max-steps asked; {planned} were planned."
        if self._ended.reason == "plateau":
            return f"{name} is done after {steps}: the score no longer rose; {planned} were planned."
        return f"{name} is done: {steps} in {planned}."

    def _scores(self) -> list[str]:
        if self._ended is None:
            return []
        if self._ended.best_epoch < 0 or math.isnan(self._ended.best_miou):
            return ["No epoch was scored."]
        lines = [f"Best mIoU {self._ended.best_miou:.4f} in epoch {self._ended.best_epoch}."]
        best = self._row_of(self._ended.best_epoch)
        scores = {key.removeprefix("iou/"): value for key, value in best.items() if key.startswith("iou/")}
        width = max((len(name) for name in scores), default=0)
        lines.extend(f"  {name:<{width}}  {_score(value)}" for name, value in scores.items())
        teacher = best.get("teacher_miou")
        if isinstance(teacher, float):
            lines.append(_compare(self._ended.best_miou, teacher))
        agreement = best.get("agreement")
        if isinstance(agreement, float):
            lines.append(f"Student and teacher agree on {100 * agreement:.1f} % of the pixels.")
        last = self._last_row if self._last_row is not None else max(self._written_rows(), key=_epoch_of, default=best)
        if last and _epoch_of(last) != self._ended.best_epoch:
            lines.append(f"Last epoch {_epoch_of(last)}: mIoU {_score(last.get('miou'))}.")
        return lines

    def _keep(self, record: EpochRecord) -> None:
        row = metrics_row(record)
        self._last_row = row
        if record.best:
            self._best_row = row
        elif self._best_row is not None and _epoch_of(self._best_row) == record.epoch:
            self._best_row = None  # the epoch came again
        self._first_epoch = record.epoch if self._first_epoch is None else min(self._first_epoch, record.epoch)
        self._skipped.pop(record.epoch, None)
        if record.skipped_steps:
            self._skipped[record.epoch] = record.skipped_steps

    def _forget(self, first_epoch: int) -> None:
        """The epochs from ``first_epoch`` on come again."""
        self._best_row, self._last_row = (
            None if row is None or _epoch_of(row) >= first_epoch else row for row in (self._best_row, self._last_row)
        )
        self._skipped = {epoch: steps for epoch, steps in self._skipped.items() if epoch < first_epoch}

    def _row_of(self, epoch: int) -> Row:
        """An epoch's row: one that is kept, or the one in metrics.csv; empty where there is none."""
        kept = [row for row in (self._last_row, self._best_row) if row is not None and _epoch_of(row) == epoch]
        return kept[0] if kept else next((row for row in self._written_rows() if _epoch_of(row) == epoch), {})

    def _earlier_rows(self) -> list[Row]:
        """Rows of the parts of the run before this one."""
        first = self._first_epoch
        return [row for row in self._written_rows() if first is None or _epoch_of(row) < first]

    def _written_rows(self) -> list[Row]:
        if self._folder is None or not self._folder.metrics_file.exists():
            return []
        return [row for row in read_metrics(self._folder.metrics_file) if isinstance(row.get("epoch"), int)]


def _epoch_of(row: Row) -> int:
    epoch = row["epoch"]
    assert isinstance(epoch, int)
    return epoch


def _compare(student: float, teacher: float) -> str:
    gap = student - teacher
    if math.isnan(gap):
        return f"Teacher mIoU {_score(teacher)}."
    if abs(gap) < 0.00005:
        return f"Teacher mIoU {teacher:.4f}: the student equals it."
    return f"Teacher mIoU {teacher:.4f}: the student is {abs(gap):.4f} {'above' if gap > 0 else 'below'} it."


def _score(value: Value) -> str:
    if not isinstance(value, float) or math.isnan(value):
        return "absent (neither in the truth nor predicted)"
    return f"{value:.4f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
