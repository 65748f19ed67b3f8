from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from made_pages import with_counts

from snowmelt.reporting import RunFolder, ValidationScores
from snowmelt.training.events import EpochEnded, Event


def feed(folder: RunFolder, events: list[Event]) -> dict[str, Any]:
    listener = ValidationScores(folder)
    for event in events:
        listener.receive(event)
    content: dict[str, Any] = json.loads(folder.validation_file.read_text())
    return content


def counted(run: Any, events: list[Event]) -> list[Event]:
    return [with_counts(event, run) for event in events]


def test_the_best_epoch_is_kept(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    run = fake_run(classes=3)
    worse = EpochEnded(replace(run.record(5), best=False, miou=0.0))
    content = feed(folder, counted(run, [run.started(), *run.epoch(0), *run.epoch(3), worse]))
    record = run.record(3)
    assert (content["epoch"], content["split"], content["weights"]) == (3, "val", "best")
    assert content["student"]["miou"] == record.miou
    assert content["student"]["iou"] == {
        "background": record.iou["background"],
        "person": record.iou["person"],
        "traffic light": None,
    }
    assert content["student"]["confusion"] == [[1000, 100, 0], [0, 1000, 100], [100, 0, 1000]]
    assert content["teacher"]["miou"] == 0.8
    assert content["agreement"] == {"pixels": record.agreement}


def test_a_resumed_run_writes_the_same(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    run = fake_run()
    feed(folder, counted(run, run.whole()))
    whole = folder.validation_file.read_bytes()
    feed(folder, counted(run, run.rest(3)))
    assert folder.validation_file.read_bytes() == whole


def test_no_teacher(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    content = feed(folder, fake_run(teacher=False).whole())
    assert content["teacher"] is None
    assert content["agreement"] is None
    assert content["student"]["confusion"] is None
