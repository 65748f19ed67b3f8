"""metrics.csv and timing.csv: one row an epoch, none missing and none double after a resume."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from snowmelt.disk import append_whole, named
from snowmelt.reporting.csv_cells import Row, Value, csv_line, read_csv, replace_file
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
            timing = {name: float(value) for name, value in event.record.timing.items()}
            try:
                self._timing.append({"epoch": event.record.epoch, "step": event.record.step, **timing})
            finally:
                self._metrics.append(metrics_row(event.record), self._columns)

    def settle(self) -> None:
        self._metrics.settle()
        self._timing.settle()


class EpochTable:
    """A CSV file keyed by epoch that grows by a line at a time.

    Loss terms are known once the first record is there, so the header is written with it. A column that turns up
    later still is put in its place, and the rows before have an empty cell in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []
        # As text, which takes a fifth of the memory: the whole table is kept, for a file that vanishes.
        self._lines: list[str] = []
        self._written = 0  # lines that the file has, under the columns of now

    def keep_before(self, epoch: int) -> None:
        """Take out the rows of ``epoch`` and later, and lines that were never finished."""
        if not self.path.exists():
            return
        columns, rows = read_csv(self.path)
        kept = [row for row in rows if isinstance(done := row.get("epoch"), int) and done < epoch]
        self._columns, self._written = columns if kept else [], 0
        self._lines = [csv_line(row.get(column) for column in columns) for row in kept]
        if kept:
            self.settle()
        else:
            with named(self.path):
                self.path.unlink()

    def append(self, row: Mapping[str, Value], columns: Iterable[str] = ()) -> None:
        """Add a row; ``columns`` are those that the table has in any case, whether this row fills them or not.

        Raises:
            WriteError: it cannot be written now; the row is kept, and comes with the next one or by ``settle``.
        """
        wanted = sort_columns([*self._columns, *columns, *row])
        if wanted != self._columns:
            self._lines = [_moved(line, self._columns, wanted) for line in self._lines]
            self._columns, self._written = wanted, 0
        self._lines.append(csv_line(row.get(column) for column in wanted))
        self.settle()

    def settle(self) -> None:
        """Write what the file does not have yet: all of it where the file is gone. Raises ``WriteError``."""
        if self._written and not self.path.exists():
            self._written = 0
        if self._written == len(self._lines):
            return
        if self._written:
            append_whole(self.path, "".join(self._lines[self._written :]))
        else:
            with named(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, "".join([csv_line(self._columns), *self._lines]))
        self._written = len(self._lines)


def _moved(line: str, columns: Sequence[str], wanted: Sequence[str]) -> str:
    """A line under other columns; it has an empty cell in those that are new."""
    cells = dict(zip(columns, next(csv.reader([line])), strict=True))
    return csv_line(cells.get(column) for column in wanted)


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
