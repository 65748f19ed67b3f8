from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console

from snowmelt.reporting import MetricTables, ProgressDisplay, RunFolder, RunSummary, TextLog
from snowmelt.training.events import EpochEnded, Event, Message, RunEnded, StageCompiled


def told(events: list[Event], folder: RunFolder | None = None) -> str:
    summary = RunSummary(folder)
    for event in events:
        summary.receive(event)
    return summary.text()


def test_a_finished_run(fake_run: Callable) -> None:
    run = fake_run(classes=3)
    text = told([Message("weights are random", "warning"), Message("fyi"), *run.whole()])
    best = run.record(5)
    assert text.splitlines() == [
        "Run fake is done: 12 steps in 6 epochs.",
        f"Best mIoU {best.miou:.4f} in epoch 5.",
        "  background     0.9000",
        "  person         0.4500",
        "  traffic light  absent (neither in the truth nor predicted)",
        "Teacher mIoU 0.8000: the student is 0.1250 below it.",
        f"Student and teacher agree on {100 * best.agreement:.1f} % of the pixels.",
        "Warnings of this run:",
        "  - weights are random",
    ]


def test_a_best_epoch_before_the_cut_is_looked_up(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    tables = MetricTables(folder)
    for event in [run.started(), *run.epoch(0), *run.epoch(1), *run.epoch(2)]:
        tables.receive(event)
    events = [*run.rest(3)[:-1], RunEnded(12, 1, run.record(1).miou, "complete")]
    for event in events:
        tables.receive(event)
    text = told(events, folder)
    assert f"Best mIoU {run.record(1).miou:.4f} in epoch 1." in text
    assert f"  person      {run.record(1).iou['person']:.4f}" in text
    assert f"Last epoch 5: mIoU {run.record(5).miou:.4f}." in text
    assert "epoch 1." in told(events)  # without a folder: less, but no error


def test_stopped_skipped_and_equal(fake_run: Callable) -> None:
    run = fake_run(epochs=3)
    record = replace(run.record(0), skipped_steps=1, teacher_miou=run.record(0).miou)
    text = told([run.started(), EpochEnded(record), RunEnded(1, 0, record.miou, "max_steps")])
    assert "Run fake stopped after 1 step, as --max-steps asked; 3 epochs were planned." in text
    assert "the student equals it" in text
    assert "1 step changed nothing, as something was not finite." in text
    above = replace(record, teacher_miou=record.miou - 0.1)
    assert "0.1000 above it" in told([run.started(), EpochEnded(above), RunEnded(1, 0, record.miou, "complete")])


def test_warnings_once_each(fake_run: Callable) -> None:
    assert told([Message("x", "warning")] * 3).count("- x") == 1


def test_a_run_without_a_score_or_an_end(fake_run: Callable) -> None:
    run = fake_run()
    assert "No epoch was scored." in told([run.started(), RunEnded(0, -1, float("nan"), "max_steps")])
    assert told([run.started()]) == "Run fake did not come to its end; go on with --resume."


def test_why_it_ended(fake_run: Callable) -> None:
    run = fake_run()
    summary = RunSummary()
    assert summary.reason is None
    summary.receive(run.started())
    summary.receive(EpochEnded(run.record(0)))
    summary.receive(RunEnded(2, 0, run.record(0).miou, "plateau"))
    assert summary.reason == "plateau"
    assert summary.text().startswith("Run fake is done after 2 steps: the score no longer rose; 6 epochs were planned.")


def test_what_compiling_took_is_told_where_a_person_looks(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run()
    events = [run.started(), run.stage(0), StageCompiled(0, 30.4), run.stage(2), StageCompiled(2, 12.0)]
    assert "Compiling took 42 s in 2 stages, the first step of each included." in told(events)
    assert "Compiling" not in told(run.whole())
    log, stream = TextLog(folder), io.StringIO()
    display = ProgressDisplay(console=Console(file=stream), live=False)
    for event in events:
        log.receive(event)
        display.receive(event)
    log.close()
    assert "compiled in 30 s" in stream.getvalue()
    (path,) = folder.logs.glob("training_log_*.txt")
    assert "compiled in_epoch=2 seconds=12\n" in path.read_text()
