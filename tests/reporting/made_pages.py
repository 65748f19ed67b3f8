"""Run folders as training leaves them, without training: from the events of a fake run and a few drawn pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from snowmelt.reporting import MetricTables, Prediction, RunFolder, TextLog, ValidationScores, save_layers
from snowmelt.schedules import make_plan
from snowmelt.training.events import EpochEnded, Event, Message


def fill(folder: RunFolder, run: Any, done: int | None = None, classes: Sequence[str] | None = None) -> RunFolder:
    """Everything of ``run`` (a ``FakeRun``) up to epoch ``done``, with counts of pixels; ended where it is ``None``."""
    if classes is not None:
        run.classes = tuple(classes)
    listeners = [MetricTables(folder), ValidationScores(folder), TextLog(folder)]
    events: list[Event] = [run.started(), Message("a warning of this run", "warning")]
    for epoch in range(run.epochs if done is None else done):
        events += [with_counts(event, run) for event in run.epoch(epoch)]
    if done is None:
        events.append(run.ended())
    for listener in listeners:
        for event in events:
            listener.receive(event)
        listener.close()
    folder.write_plan(make_plan(run.schedules))
    folder.write_config({"name": folder.name, "seed": 0, "reactions": {"thaw_guard": False}}, {"python": "3.11"})
    if done is None:
        record = {"reason": "complete", "step": run.epochs * run.steps, "best_epoch": run.epochs - 1, "best_miou": 0.5}
        (folder.root / "summary.json").write_text(json.dumps({**record, "classes": list(run.classes)}))
    return folder


def with_counts(event: Event, run: Any) -> Event:
    """The epoch's record with IoU of the teacher and confusion matrices; one pixel in eleven is taken for its next."""
    if not isinstance(event, EpochEnded):
        return event
    count = len(run.classes)
    counts = tuple(
        tuple(1000 if true == taken else 100 if taken == (true + 1) % count else 0 for taken in range(count))
        for true in range(count)
    )
    if not run.teacher:
        return EpochEnded(replace(event.record, confusion=counts))
    iou = {name: 0.9 - 0.5 * index / count for index, name in enumerate(run.classes)}
    return EpochEnded(replace(event.record, confusion=counts, teacher_iou=iou, teacher_confusion=counts))


def draw(folder: RunFolder, names: Sequence[str], classes: Sequence[str], teacher: bool = True) -> None:
    """Predictions of small images: a square that the student finds a little too far to the left."""
    truth = np.zeros((24, 32), np.uint8)
    truth[6:18, 10:22] = 1
    student = np.roll(truth, -2, axis=1)
    image = np.repeat((60 + 120 * truth)[..., None], 3, axis=2)
    save_layers(
        folder,
        [Prediction(name, image, truth, student, np.roll(truth, 1, axis=1) if teacher else None) for name in names],
        classes,
    )


def evaluation(classes: Sequence[str], split: str = "test", overlay: str | None = None) -> dict[str, Any]:
    """What ``snowmelt evaluate`` keeps."""

    def side(shift: float) -> dict[str, Any]:
        values = {name: round(0.8 - shift - 0.5 * index / len(classes), 4) for index, name in enumerate(classes)}
        return {
            "miou": 0.55 - shift,
            "iou": values,
            "dice": values,
            "precision": values,
            "recall": {**values, classes[-1]: None},
            "boundary_f": values,
            "mean_dice": 0.6,
            "mean_boundary_f": 0.4,
            "pixel_accuracy": 0.9,
            "ece": 0.031,
            "reliability": [
                {"confidence": 0.05 + 0.1 * step, "accuracy": 0.1 * step, "share": 0.1} for step in range(10)
            ],
            "confusion": [
                [90 if row == column else 10 for column in range(len(classes))] for row in range(len(classes))
            ],
        }

    return {
        "format": 1,
        "run": "fake",
        "weights": "best",
        "split": split,
        "images": 16,
        "image_size": 64,
        "classes": list(classes),
        "student": side(0.0),
        "teacher": side(-0.1),
        "agreement": {"pixels": 0.93, "miou": 0.8},
        "by_size": [{"size": "small", "objects": 12, "miou": 0.21}],
        "by_brightness": [{"brightness": "dark", "images": 4, "miou": 0.4}],
        "worst": [{"name": "worst.png", "miou": 0.1, "teacher_miou": 0.3, "overlay": overlay}],
    }


def benchmark() -> dict[str, Any]:
    """What ``snowmelt benchmark`` keeps."""
    row = {
        "runtime": "torch",
        "precision": "32",
        "p90_ms": 40.0,
        "images_per_second": 30.0,
        "macs": 2.1e9,
        "miou": None,
    }
    return {
        "format": 1,
        "device": "cpu",
        "threads": 2,
        "image_size": 128,
        "batch": 1,
        "sentence": "The student takes a quarter of the time.",
        "rows": [
            {**row, "name": "teacher", "latency_ms": 80.0, "parameters": 21_000_000, "file_bytes": 8.4e7, "miou": 0.6},
            {**row, "name": "student", "latency_ms": 20.0, "parameters": 6_600_000, "file_bytes": 2.6e7, "miou": 0.5},
            {
                **row,
                "name": "student int8",
                "latency_ms": 10.0,
                "parameters": 6_600_000,
                "file_bytes": 7e6,
                "miou": None,
            },
        ],
    }
