from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from snowmelt.reporting import MetricTables, RunFolder, plan_csv, read_metrics
from snowmelt.schedules import WeightSchedule, make_plan
from snowmelt.training.events import EpochEnded, Event

CUTS = [(epoch, step) for epoch in range(6) for step in (0, 1)]


def feed(folder: RunFolder, events: list[Event]) -> None:
    """A process of its own: a fresh listener, as after a restart."""
    listener = MetricTables(folder)
    for event in events:
        listener.receive(event)
    listener.close()


@pytest.fixture
def twin(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "twin")


def test_columns_and_values(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=3, classes=4)
    feed(folder, run.whole())
    header = folder.metrics_file.read_text().splitlines()[0]
    lr = ",".join(f"lr/{name}" for name in ("decoder", *run.schedules.blocks))
    assert header == (
        f"epoch,step,complete,temperature,thawed_blocks,{lr},train/total,train/task,train/distill,"
        "val/total,val/task,val/distill,miou,iou/background,iou/person,iou/traffic light,"
        '"iou/dog, small",teacher_miou,agreement,skipped_steps,best'
    )
    rows = read_metrics(folder.metrics_file)
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    record = run.record(1)
    assert rows[1]["temperature"] == record.temperature
    assert rows[1]["lr/blocks.6"] == record.learning_rates["blocks.6"]
    assert rows[1]["train/distill"] == record.train["distill"]
    assert rows[1]["miou"] == record.miou
    assert math.isnan(rows[1]["iou/traffic light"])
    assert rows[1]["complete"] is True
    assert read_metrics(folder.timing_file)[2] == {
        "epoch": 2,
        "step": 6,
        "seconds": 3.0,
        "images_per_second": 40.0,
        "peak_memory_mb": 100.5,
    }


def test_every_row_is_on_disk_at_once(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    listener = MetricTables(folder)
    listener.receive(run.started())
    for epoch in range(3):
        listener.receive(EpochEnded(run.record(epoch)))
        assert len(read_metrics(folder.metrics_file)) == len(read_metrics(folder.timing_file)) == epoch + 1


@pytest.mark.parametrize(("epoch", "step"), CUTS)
def test_resumed_equals_uninterrupted(
    folder: RunFolder, twin: RunFolder, fake_run: Callable, epoch: int, step: int
) -> None:
    """Cut after two more epochs were logged than the checkpoint knows, each point around the thaws included."""
    run = fake_run()
    feed(twin, run.whole())
    before: list[Event] = [run.started()]
    for each in range(min(epoch + 2, run.epochs)):
        before += run.epoch(each)
    feed(folder, before)
    feed(folder, run.rest(epoch, step))
    assert folder.metrics_file.read_bytes() == twin.metrics_file.read_bytes()
    timing = read_metrics(folder.timing_file)
    assert [row["epoch"] for row in timing] == list(range(run.epochs))
    assert [row["images_per_second"] for row in timing] == [40.0] * epoch + [7.0] * (run.epochs - epoch)


def test_partial_epoch_is_replaced(folder: RunFolder, twin: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    feed(twin, run.whole())
    feed(folder, [run.started(), *run.epoch(0), *run.epoch(1, last=1), EpochEnded(run.record(1, step_in_epoch=1))])
    assert [row["complete"] for row in read_metrics(folder.metrics_file)] == [True, False]
    feed(folder, run.rest(1, 1))
    assert folder.metrics_file.read_bytes() == twin.metrics_file.read_bytes()


def test_line_cut_by_a_crash_is_dropped(folder: RunFolder, twin: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    feed(twin, run.whole())
    feed(folder, [run.started(), *run.epoch(0), *run.epoch(1)])
    folder.metrics_file.write_bytes(folder.metrics_file.read_bytes()[:-40])
    feed(folder, run.rest(1))
    assert folder.metrics_file.read_bytes() == twin.metrics_file.read_bytes()


def test_resume_of_a_finished_run_changes_nothing(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    feed(folder, run.whole())
    before = folder.metrics_file.read_bytes()
    feed(folder, [run.started(run.epochs, run.epochs * run.steps, resumed=True), run.ended()])
    assert folder.metrics_file.read_bytes() == before


def test_late_loss_term_gets_its_place(folder: RunFolder, twin: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=3)

    def with_feature(events: list[Event]) -> list[Event]:
        return [
            EpochEnded(replace(event.record, train={**event.record.train, "feature": 0.5}))
            if isinstance(event, EpochEnded) and event.record.epoch > 0
            else event
            for event in events
        ]

    feed(twin, with_feature(run.whole()))
    rows = read_metrics(twin.metrics_file)
    assert [row["train/feature"] for row in rows] == [None, 0.5, 0.5]
    names = list(rows[0])
    assert names.index("train/distill") + 1 == names.index("train/feature") == names.index("val/total") - 1
    feed(folder, with_feature([run.started(), *run.epoch(0), *run.epoch(1)]))
    feed(folder, with_feature(run.rest(1)))
    assert folder.metrics_file.read_bytes() == twin.metrics_file.read_bytes()


def test_no_teacher_leaves_cells_empty(folder: RunFolder, fake_run: Callable) -> None:
    feed(folder, fake_run(teacher=False).whole())
    row = read_metrics(folder.metrics_file)[0]
    assert row["temperature"] is row["teacher_miou"] is row["agreement"] is None


def test_cells_equal_the_plan_as_text(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=50, start=10, every=5)
    feed(folder, run.whole())
    plan_lines = plan_csv(make_plan(run.schedules)).splitlines()
    metric_lines = folder.metrics_file.read_text().splitlines()
    where = [metric_lines[0].split(",").index(name) for name in plan_lines[0].split(",")]
    assert len(plan_lines) == len(metric_lines) == 51
    for plan_line, metric_line in zip(plan_lines, metric_lines, strict=True):
        cells = metric_line.split(",")
        assert plan_line.split(",") == [cells[index] for index in where]


def test_bytes_depend_on_figures_only(folder: RunFolder, twin: RunFolder, fake_run: Callable) -> None:
    feed(folder, fake_run().whole())
    feed(twin, [replace(e, device="cuda:0") if hasattr(e, "device") else e for e in fake_run().whole()])
    assert folder.metrics_file.read_bytes() == twin.metrics_file.read_bytes()


def test_weights_have_their_columns_between_temperature_and_thaw(folder: RunFolder, fake_run: Callable) -> None:
    """And a weight's cells equal those of the plan as text; alpha has no ``weights/``: it is what a fade left of it."""
    schedules = {"alpha": WeightSchedule("cosine", 0.8, 0.2), "kl": WeightSchedule("linear", 1.0, 0.0)}
    run = fake_run(weights=schedules)
    feed(folder, run.whole())
    header, *lines = folder.metrics_file.read_text().splitlines()
    names = header.split(",")
    assert names[3:7] == ["temperature", "alpha", "weights/kl", "thawed_blocks"]
    planned = plan_csv(make_plan(run.schedules)).splitlines()
    place = planned[0].split(",").index("weights/kl")
    assert [line.split(",")[5] for line in lines] == [line.split(",")[place] for line in planned[1:]]
    assert [float(line.split(",")[4]) for line in lines] == [schedules["alpha"].at(epoch, 6) for epoch in range(6)]
