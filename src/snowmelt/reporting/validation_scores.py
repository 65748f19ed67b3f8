"""``validation.json``: the best weights on the validation images, class by class, as counts of pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snowmelt.disk import named
from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.training.events import EpochEnded, EpochRecord, Event, Listener, PixelCounts, RolledBack, RunStarted

KEPT = 16  # contents of before, for a run that goes back: it goes back by few epochs, and each may be large


class ValidationScores(Listener):
    """Writes the file anew whenever an epoch is the best so far, so that it fits ``best.safetensors``.

    Its form is that of ``evaluation/<split>.json``, with less in it. A resumed run writes what an uninterrupted one
    would have: the epochs after its checkpoint come again. A run that goes back has the file of before again; where
    that was written before a cut and is lost, it has none until an epoch is the best again.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._started: RunStarted | None = None
        self._written: dict[int, str] = {}  # epoch -> what the file was then
        self._unwritten: str | None = None

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
            self._written = read_written(self._folder.validation_file)
        elif isinstance(event, RolledBack):
            self._written = {epoch: text for epoch, text in self._written.items() if epoch < event.first_epoch}
            if event.best_epoch in self._written:
                self._unwritten = self._written[event.best_epoch]
                self.settle()
            else:
                self._unwritten = None
                with named(self._folder.validation_file):
                    self._folder.validation_file.unlink(missing_ok=True)
        elif isinstance(event, EpochEnded) and event.record.best and self._started is not None:
            self._written[event.record.epoch] = json.dumps(scores_of(event.record, self._started)) + "\n"
            self._unwritten = self._written[event.record.epoch]
            while len(self._written) > KEPT:
                del self._written[min(self._written)]
            self.settle()

    def settle(self) -> None:
        if self._unwritten is not None:
            with named(self._folder.root):
                self._folder.root.mkdir(parents=True, exist_ok=True)
            replace_file(self._folder.validation_file, self._unwritten)
            self._unwritten = None


def read_written(path: Path) -> dict[int, str]:
    """What the file holds, by its epoch; nothing where there is none, or it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return {int(json.loads(text)["epoch"]): text}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def scores_of(record: EpochRecord, started: RunStarted) -> dict[str, Any]:
    """What the file holds. A class that is absent has ``null``."""
    teacher = None
    if record.teacher_miou is not None:
        teacher = _side(record.teacher_miou, record.teacher_iou or {}, record.teacher_confusion)
    return {
        "format": 1,
        "run": started.name,
        "weights": "best",
        "split": "val",
        "epoch": record.epoch,
        "classes": list(started.classes),
        "student": _side(record.miou, record.iou, record.confusion),
        "teacher": teacher,
        "agreement": None if record.agreement is None else {"pixels": record.agreement},
    }


def _side(miou: float, iou: Mapping[str, float], confusion: PixelCounts | None) -> dict[str, Any]:
    return {
        "miou": _number(miou),
        "iou": {name: _number(value) for name, value in iou.items()},
        "confusion": confusion,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
