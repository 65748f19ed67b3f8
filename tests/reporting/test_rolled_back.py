"""A run that went back: no listener keeps anything twice, and all of them say that it did."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from snowmelt.reporting import (
    MetricTables,
    NotFiniteReport,
    RunFolder,
    RunSummary,
    TensorBoardLog,
    TextLog,
    ValidationScores,
    read_metrics,
)
from snowmelt.reporting.text_log import read_text_log
from snowmelt.training import Listener
from snowmelt.training.events import EpochEnded, Event, NotFinite, RolledBack


def events_of(run: Any, best: int) -> list[Event]:
    """Four epochs, of which the last two are given up; then those and all others. ``best``: the epoch that counts."""
    first = [run.started(), *run.epoch(0), *run.epoch(1), *run.epoch(2), *run.epoch(3)]
    back = RolledBack(first_epoch=2, first_step=2 * run.steps, best_epoch=best, factor=0.5, rollbacks=1)
    rest = [event for epoch in range(2, run.epochs) for event in run.epoch(epoch)]
    again = [
        EpochEnded(replace(event.record, rollbacks=1)) if isinstance(event, EpochEnded) else event for event in rest
    ]
    return [*first, back, *again, run.ended()]


def feed(listener: Listener, events: list[Event]) -> None:
    for event in events:
        listener.receive(event)
    listener.close()


def test_tables(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    run = fake_run()
    feed(MetricTables(folder), events_of(run, best=1))
    for file in (folder.metrics_file, folder.timing_file):
        assert [row["epoch"] for row in read_metrics(file)] == list(range(run.epochs))
    rows = read_metrics(folder.metrics_file)
    assert [row["rollbacks"] for row in rows] == [None, None, *[1] * (run.epochs - 2)]
    names = list(rows[0])
    assert names.index("skipped_steps") + 1 == names.index("rollbacks") == names.index("best") - 1


def test_tensorboard(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    run = fake_run()
    feed(TensorBoardLog(folder), events_of(run, best=1))
    epochs = EventAccumulator(str(folder.logs), size_guidance={"scalars": 0}).Reload()
    assert [point.step for point in epochs.Scalars("miou")] == list(range(run.epochs))
    assert [point.step for point in epochs.Scalars("rollbacks")] == list(range(2, run.epochs))
    steps = EventAccumulator(str(folder.logs / "steps"), size_guidance={"scalars": 0}).Reload()
    told = [point.step for point in steps.Scalars("step/thawed_blocks")]
    assert told == sorted(set(told)) and len(told) > run.epochs


def test_text_log(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    """Which keeps what was given up, as it happened; read back, an epoch is what it was in the end."""
    run = fake_run()
    feed(TextLog(folder), events_of(run, best=1))
    (path,) = folder.logs.glob("training_log_*.txt")
    lines = [line.split(" ", 2)[2] for line in path.read_text().splitlines()]
    assert f"rollback number=1 to_epoch=2 to_step={2 * run.steps} factor=0.5" in lines
    assert sum(line.startswith("epoch=2 temperature") for line in lines) == 2
    assert [row["epoch"] for row in read_text_log(path)] == list(range(run.epochs))


def test_what_an_older_log_has_of_it_is_void(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    run = fake_run()
    feed(TextLog(folder), [run.started(), *run.epoch(0), *run.epoch(1), *run.epoch(2)])
    older = next(folder.logs.glob("training_log_*.txt"))
    back = RolledBack(first_epoch=1, first_step=run.steps, best_epoch=0, factor=0.5, rollbacks=1)
    feed(TextLog(folder), [run.started(3, 3 * run.steps, resumed=True), back])
    assert [row["epoch"] for row in read_text_log(older)] == [0]


def test_validation_scores_are_those_of_the_best_epoch_that_is_left(
    folder: RunFolder, fake_run: Callable[..., Any]
) -> None:
    run, listener = fake_run(), ValidationScores(folder)
    good, given_up = (EpochEnded(replace(run.record(epoch), best=True)) for epoch in (1, 3))
    for event in (run.started(), good):
        listener.receive(event)
    before = folder.validation_file.read_text()
    listener.receive(given_up)
    assert json.loads(folder.validation_file.read_text())["epoch"] == 3
    listener.receive(RolledBack(2, 2 * run.steps, best_epoch=1, factor=0.5, rollbacks=1))
    assert folder.validation_file.read_text() == before
    later = ValidationScores(folder)  # after a cut, too
    for event in (run.started(2, 2 * run.steps, resumed=True), given_up, RolledBack(2, 4, 1, 0.25, 2)):
        later.receive(event)
    assert folder.validation_file.read_text() == before
    later.receive(RolledBack(0, 0, best_epoch=-1, factor=0.125, rollbacks=3))
    assert not folder.validation_file.exists()


def test_summary_counts_what_is_left(fake_run: Callable[..., Any]) -> None:
    run, summary = fake_run(), RunSummary()
    spoilt = EpochEnded(replace(run.record(3), skipped_steps=7))
    for event in (run.started(), spoilt, RolledBack(2, 4, -1, 0.5, 1)):
        summary.receive(event)
    assert "changed nothing" not in summary.text()


def test_the_report_is_plain_json(folder: RunFolder) -> None:
    content = {"format": 1, "stopped": False, "events": [{"images": ["あ.jpg"], "rates": {"decoder": float("nan")}}]}
    feed(NotFiniteReport(folder), [NotFinite(content, stops=False)])
    text = folder.not_finite_file.read_text(encoding="utf-8")
    assert json.loads(text)["events"][0]["rates"] == {"decoder": None} and "あ.jpg" in text and "NaN" not in text
