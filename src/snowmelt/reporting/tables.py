"""metrics.csv and timing.csv: one row an epoch, none missing and none double after a resume."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from snowmelt.reporting.csv_cells import Row, Value, csv_line, csv_text, read_csv, replace_file
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.training.events import EpochEnded, EpochRecord, Event, Listener, RolledBack, RunStarted

# A name that ends in a slash stands for all columns of that family.
ORDER = (
    "epoch",
    "step",
    "complete",
    "temperature",
    "alpha",
    "weights/",
    "thawed_blocks",
    "lr/",
    "train/",
    "val/",
    "miou",
    "iou/",
    "teacher_miou",
    "agreement",
    "skipped_steps",
    "rollbacks",
    "best",
)


class MetricTables(Listener):
    """Writes both tables, an epoch at a time, down to the disk.

    metrics.csv has only what a run with this seed always gives, so a resumed run writes the same bytes as one that
    was never cut; speeds and memory go to timing.csv. When a run goes on, rows from its first epoch on are taken out
    first: a partial last epoch, and epochs after the checkpoint that it goes on from. The same holds where a run goes
    back to an earlier checkpoint; from there on ``rollbacks`` counts how often it did.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._metrics = EpochTable(folder.metrics_file)
        self._timing = EpochTable(folder.timing_file)
        self._columns: list[str] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._metrics.keep_before(event.first_epoch)
            self._timing.keep_before(event.first_epoch)
            self._columns = [*(f"lr/{name}" for name in event.groups), *(f"iou/{name}" for name in event.classes)]
        elif isinstance(event, RolledBack):
            self._metrics.keep_before(event.first_epoch)
            self._timing.keep_before(event.first_epoch)
        elif isinstance(event, EpochEnded):
            self._metrics.append(metrics_row(event.record), self._columns)
            timing = {name: float(value) for name, value in event.record.timing.items()}
            self._timing.append({"epoch": event.record.epoch, "step": event.record.step, **timing})


class EpochTable:
    """A CSV file keyed by epoch that grows by a line at a time.

    Loss terms are known once the first record is there, so the header is written with it. A column that turns up
    later still is put in its place, and the rows before have an empty cell in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []

    def keep_before(self, epoch: int) -> None:
        """Take out the rows of ``epoch`` and later, and lines that were never finished."""
        if not self.path.exists():
            return
        columns, rows = read_csv(self.path)
        kept = [row for row in rows if isinstance(done := row.get("epoch"), int) and done < epoch]
        if kept:
            self._columns = columns
            replace_file(self.path, csv_text(columns, kept))
        else:
            self._columns = []
            self.path.unlink()

    def append(self, row: Mapping[str, Value], columns: Iterable[str] = ()) -> None:
        """Add a row; ``columns`` are those that the table has in any case, whether this row fills them or not."""
        wanted = sort_columns([*self._columns, *columns, *row])
        if wanted != self._columns:
            rows = read_csv(self.path)[1] if self._columns else []
            replace_file(self.path, csv_text(wanted, rows))
            self._columns = wanted
        with self.path.open("a", encoding="utf-8", newline="") as file:
            file.write(csv_line(row.get(column) for column in wanted))
            file.flush()
            os.fsync(file.fileno())


def metrics_row(record: EpochRecord) -> Row:
    """The record without its timing, flat, by the column names of metrics.csv."""

    def prefixed(prefix: str, values: Mapping[str, float]) -> Row:
        return {f"{prefix}/{name}": float(value) for name, value in values.items()}

    return {
        "epoch": record.epoch,
        "step": record.step,
        "complete": record.complete,
        "temperature": None if record.temperature is None else float(record.temperature),
        **({} if record.alpha is None else {"alpha": float(record.alpha)}),
        **prefixed("weights", record.weights),
        "thawed_blocks": record.thawed_blocks,
        **prefixed("lr", record.learning_rates),
        **prefixed("train", record.train),
        **prefixed("val", record.val),
        "miou": float(record.miou),
        **prefixed("iou", record.iou),
        "teacher_miou": None if record.teacher_miou is None else float(record.teacher_miou),
        "agreement": None if record.agreement is None else float(record.agreement),
        "skipped_steps": record.skipped_steps,
        **({"rollbacks": record.rollbacks} if record.rollbacks else {}),
        "best": record.best,
    }


def read_metrics(path: Path) -> list[Row]:
    """Rows of metrics.csv or timing.csv with their types: int, float (NaN: absent), bool, ``None`` for no value."""
    return read_csv(path)[1]


def sort_columns(names: Iterable[str]) -> list[str]:
    """Each name once, families together in the order of metrics.csv, and as given within a family."""
    return sorted(dict.fromkeys(names), key=_rank)


def _rank(column: str) -> int:
    family = column.split("/")[0] + "/" if "/" in column else column
    return ORDER.index(family) if family in ORDER else len(ORDER)
