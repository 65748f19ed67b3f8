"""A log to follow with `tail -f`, to search with `grep`, and to read back."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from snowmelt.disk import GrowingFile, WriteError
from snowmelt.errors import SnowmeltError
from snowmelt.reporting.csv_cells import Row, format_cell, parse_cell, replace_file
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.summary import RunSummary
from snowmelt.training.events import (
    EpochEnded,
    EpochRecord,
    Event,
    Listener,
    Message,
    RolledBack,
    RunEnded,
    RunStarted,
    RunStopped,
    StageCompiled,
    StageStarted,
    StepEnded,
)

NAMES = "training_log_*.txt"
MOST_UNWRITTEN = 10_000  # lines that are kept while the log cannot be written


class TextLog(Listener):
    """``logs/training_log_<YYYYmmdd_HHMMSS>.txt``, a new one for each start, flushed at every line.

    A run that goes on makes the steps after its checkpoint again, so lines about them in older logs get the word
    ``void`` before their topic: of each step and each epoch, one line in all logs together has none. Where a run goes
    back, those of its own log stay as they are, above the line ``rollback``: somebody may be following it.

    Lines are ``<date> <time> <topic> key=value ...``. Temperature and learning rates are exact, other figures have
    six digits; a class that is in neither truth nor prediction is ``absent``.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._summary = RunSummary(folder)
        self._file: GrowingFile | None = None
        self._unwritten: list[str] = []
        self._ended = False

    def receive(self, event: Event) -> None:
        self._summary.receive(event)
        if isinstance(event, RunStarted):
            self._start(event)
        elif isinstance(event, StageStarted):
            self._write(
                f"stage epoch={event.epoch} thawed_blocks={event.thawed_blocks} "
                f"trainable_parameters={event.trainable_parameters} learns={_names(event.learns)}"
            )
        elif isinstance(event, StageCompiled):
            self._write(f"compiled in_epoch={event.epoch} seconds={_figure(event.seconds)}")
        elif isinstance(event, StepEnded):
            if event.losses is not None:
                losses = _pairs({f"loss/{name}": value for name, value in event.losses.items()})
                self._write(f"step={event.step} in_epoch={event.epoch} step_in_epoch={event.step_in_epoch} {losses}")
        elif isinstance(event, EpochEnded):
            for line in _epoch_lines(event.record):
                self._write(line)
        elif isinstance(event, RolledBack):
            mark_void(self._others(), event.first_epoch, event.first_step)
            self._write(
                f"rollback number={event.rollbacks} to_epoch={event.first_epoch} to_step={event.first_step} "
                f"factor={_figure(event.factor)}"
            )
        elif isinstance(event, Message):
            self._write(f"{event.level} {event.text}")
        elif isinstance(event, RunEnded):
            self._ended = True
            self._write(
                f"end reason={event.reason} step={event.step} best_epoch={event.best_epoch} "
                f"best_miou={_figure(event.best_miou)}"
            )
            self._write(self._summary.text())
        elif isinstance(event, RunStopped):
            self._ended = True
            self._write(event.text)

    def close(self) -> None:
        if self._file is None:
            return
        if not self._ended:
            with suppress(WriteError):
                self._write("warning the run was left before its end")
        if self._file is not None:
            self._file.close()
        self._file = None

    def _start(self, event: RunStarted) -> None:
        mark_void(self._others(), event.first_epoch, event.first_step)
        self._write(f"{'resume' if event.resumed else 'start'} name={_key(event.name)}")
        self._write(
            f"run epochs={event.epochs} steps_per_epoch={event.steps_per_epoch} last_step={event.last_step} "
            f"first_epoch={event.first_epoch} first_step={event.first_step}"
        )
        self._write(
            f"run device={_key(event.device)} precision={_key(event.precision)} "
            f"effective_batch={event.effective_batch} parameters={event.parameters}"
        )
        self._write(f"run classes={_names(event.classes)}")
        self._write(f"run groups={_names(event.groups)}")

    def _others(self) -> list[Path]:
        """The logs of earlier starts."""
        own = None if self._file is None else self._file.path
        return [path for path in self._folder.logs.glob(NAMES) if path != own]

    def _write(self, text: str) -> None:
        stamp = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
        self._unwritten += [f"{stamp} {line}\n" for line in text.splitlines()]
        self._unwritten = self._unwritten[-MOST_UNWRITTEN:]
        self.settle()

    def settle(self) -> None:
        if not self._unwritten:
            return
        if self._file is not None and not self._file.is_there:
            self._file.close()
            self._file = None
            raise WriteError(self._folder.logs, OSError(errno.ENOENT, "the log has disappeared"))
        if self._file is None:
            self._file = _open_new(self._folder.logs)
        self._file.add("".join(self._unwritten).encode())
        self._unwritten = []


def mark_void(logs: Iterable[Path], first_epoch: int, first_step: int) -> None:
    """Mark what a run that goes on from there makes again: steps after ``first_step``, epochs from ``first_epoch`` on.

    Nothing is taken out: how far a run came before it was cut may be what somebody looks for.
    """
    for path in logs:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
        marked = [_void(line, first_epoch, first_step) for line in lines]
        if marked != lines:
            replace_file(path, "".join(marked))


def _void(line: str, first_epoch: int, first_step: int) -> str:
    found = re.match(r"(\S+ \S+) (step|epoch)=(\d+) ", line)
    if found is None:
        return line
    repeated = int(found[3]) > first_step if found[2] == "step" else int(found[3]) >= first_epoch
    return f"{found[1]} void{line[found.end(1) :]}" if repeated else line


def read_text_log(path: Path) -> list[Row]:
    """One mapping for each epoch in the log, in order: everything that was logged of it by key, unless it is void.

    Raises:
        SnowmeltError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SnowmeltError(
            f"{path}: cannot be read ({error}); expected a text log of a run", code="file-unreadable"
        ) from error
    epochs: dict[str, Row] = {}
    for line in lines:
        found = re.match(r"\S+ \S+ (epoch=(\d+) .*)", line)
        if found:
            pairs = (word.split("=", 1) for word in found[1].split() if "=" in word)
            epochs.setdefault(found[2], {}).update({key: parse_cell(value) for key, value in pairs})
    return list(epochs.values())


def _epoch_lines(record: EpochRecord) -> list[str]:
    schedule = {"temperature": record.temperature, "alpha": record.alpha}
    schedule.update({f"weights/{name}": value for name, value in record.weights.items()})
    exact = {key: format_cell(float(value)) for key, value in schedule.items() if value is not None}
    rates = {f"lr/{name}": format_cell(float(rate)) for name, rate in record.learning_rates.items()}
    scores = {"miou": record.miou, **{f"iou/{name}": value for name, value in record.iou.items()}}
    if record.teacher_miou is not None:
        scores["teacher_miou"] = record.teacher_miou
    if record.agreement is not None:
        scores["agreement"] = record.agreement
    parts = [
        f"{_pairs(exact)} thawed_blocks={record.thawed_blocks} step={record.step} "
        f"complete={format_cell(record.complete)} skipped_steps={record.skipped_steps}".lstrip(),
        _pairs(rates),
        _pairs({f"train/{name}": value for name, value in record.train.items()}),
        _pairs({f"val/{name}": value for name, value in record.val.items()}),
        _pairs({key: "absent" if math.isnan(value) else value for key, value in scores.items()})
        + f" best={format_cell(record.best)}"
        + (" <- best so far" if record.best else ""),
        _pairs(record.timing),
    ]
    return [f"epoch={record.epoch} {part}" for part in parts if part]


def _pairs(values: Mapping[str, float | str]) -> str:
    return " ".join(f"{_key(key)}={_figure(value)}" for key, value in values.items())


def _figure(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"


def _key(name: str) -> str:
    """A name without blanks, commas and equals signs: lines split into words, words into key and value."""
    return re.sub(r"[\s=,]+", "_", name)


def _names(names: tuple[str, ...]) -> str:
    return ",".join(_key(name) for name in names)


def _open_new(folder: Path) -> GrowingFile:
    stem = f"training_log_{datetime.now():%Y%m%d_%H%M%S}"
    count = 0
    while True:
        path = folder / (f"{stem}_{count}.txt" if count else f"{stem}.txt")
        if not path.exists():
            return GrowingFile(path)
        count += 1
