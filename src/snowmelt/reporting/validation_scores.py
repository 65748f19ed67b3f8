"""``validation.json``: the best weights on the validation images, class by class, as counts of pixels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.training.events import EpochEnded, EpochRecord, Event, Listener, PixelCounts, RunStarted


class ValidationScores(Listener):
    """Writes the file anew whenever an epoch is the best so far, so that it fits ``best.safetensors``.

    Its form is that of ``evaluation/<split>.json``, with less in it. A resumed run writes what an uninterrupted one
    would have: the epochs after its checkpoint come again.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._started: RunStarted | None = None

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
        elif isinstance(event, EpochEnded) and event.record.best and self._started is not None:
            content = scores_of(event.record, self._started)
            replace_file(self._folder.validation_file, json.dumps(content) + "\n")


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
