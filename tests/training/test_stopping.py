"""A run that is asked to stop saves its position and goes on as if it had never stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
import torch
from test_resume import assert_same_end
from tiny_runs import Recorder, start_run

from snowmelt.errors import Stopped
from snowmelt.reporting import MetricTables, RunFolder
from snowmelt.training import Engine, Listener, StopRequest, TrainingRun, fit, stopping
from snowmelt.training.events import Event, RunEnded, RunStopped, StepEnded
from snowmelt.training.stopping import Stopping


class AskAfter(Listener):
    """Asks when a step is told, as a signal in the middle of the loop would."""

    def __init__(self, step: int, request: StopRequest, signal: Signals) -> None:
        self.step, self.request, self.signal, self.heeded = step, request, signal, False

    def receive(self, event: Event) -> None:
        if isinstance(event, StepEnded) and event.step == self.step:
            self.heeded = self.request.ask(self.signal)


def begin(root: Path, **changes: Any) -> tuple[TrainingRun, StopRequest, Recorder]:
    folder, recorder, request = RunFolder(root), Recorder(), StopRequest()
    run = start_run(folder.checkpoints, listeners=(MetricTables(folder), recorder), **changes)
    run.stop = request
    return run, request, recorder


def stop_after(root: Path, step: int, signal: Signals = Signals.SIGTERM, **changes: Any) -> Recorder:
    run, request, recorder = begin(root, **changes)
    asking = AskAfter(step, request, signal)
    run.announcer.listeners.append(asking)
    assert not request.ask(signal) and request.signal is signal  # remembered, but nobody looks yet
    request.signal = None
    with pytest.raises(Stopped, match=f"stopped by {signal.name} at epoch .*, step {step}; go on with --resume") as end:
        fit(run)
    assert asking.heeded and not request.ask() and end.value.signal is signal
    return recorder


def stop_in_validation(root: Path, epoch: int, **changes: Any) -> Recorder:
    """Asks while the teacher is asked about a validation image, which happens in the first epoch of a process."""
    run, request, recorder = begin(root, **changes)
    teacher = run.validation_teacher
    assert teacher is not None

    def examine(batch: Any) -> torch.Tensor:
        request.ask(Signals.SIGINT)
        return teacher(batch)

    run.examiner = examine
    with pytest.raises(Stopped, match="SIGINT"):
        fit(run)
    [stopped] = recorder.of(RunStopped)
    assert (stopped.epoch, stopped.signal) == (epoch, "SIGINT")
    assert not run.network.training or stopped.step  # its mode is restored, too
    return recorder


def go_on(root: Path, **changes: Any) -> Recorder:
    run, _, recorder = begin(root, **changes)
    fit(run)
    return recorder


def test_stopped_in_an_epoch_at_its_end_and_in_its_validation(tmp_path: Path) -> None:
    """Epochs have two steps, and a block thaws after every one."""
    go_on(tmp_path / "whole")
    root = tmp_path / "run"
    recorder = stop_after(root, 1, Signals.SIGINT)
    assert recorder.of(RunStopped) == [RunStopped("SIGINT", 0, 1)] and not recorder.of(RunEnded)
    stop_after(root, 2)
    assert not RunFolder(root).metrics_file.exists()  # not scored yet: that would have taken its time
    stop_in_validation(root, 0)
    saved = torch.load(RunFolder(root).checkpoints / "last.ckpt", weights_only=True)["state"]
    assert (saved["epoch"], saved["step_in_epoch"], saved["best_epoch"]) == (0, 2, -1)
    stop_after(root, 5)
    stop_after(root, 8)
    recorder = go_on(root)
    assert not recorder.of(StepEnded) and recorder.of(RunEnded)[0].reason == "complete"
    assert_same_end(root, tmp_path / "whole")


def test_the_score_of_a_partial_last_epoch_is_not_lost(tmp_path: Path) -> None:
    """Also where it was cut by something worse than a signal: after the save, before the score."""
    changes: dict[str, Any] = {"training": {"max_steps": 1}}
    go_on(tmp_path / "whole", **changes)
    stop_in_validation(tmp_path / "run", 0, **changes)
    assert not RunFolder(tmp_path / "run").metrics_file.exists()
    recorder = go_on(tmp_path / "run", **changes)
    assert recorder.of(RunEnded)[0].reason == "max_steps" and not recorder.of(StepEnded)
    assert_same_end(tmp_path / "run", tmp_path / "whole")


class TwoProcesses:
    """As an engine: this process, and what the other one says when they ask each other."""

    world_size = 2

    def __init__(self, other: Callable[[], tuple[float, float]]) -> None:
        self.other, self.asked = other, 0

    def largest(self, *values: float) -> list[float]:
        self.asked += 1
        return [max(pair) for pair in zip(values, self.other(), strict=True)]


def test_several_processes_ask_each_other_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(stopping.time, "perf_counter", lambda: clock[0])
    other = [0.0, 0.0]
    engine, request = TwoProcesses(lambda: (other[0], other[1])), StopRequest()
    stop = Stopping(engine, request)  # type: ignore[arg-type]
    asked_at = []
    for step in range(1, 30):
        clock[0] += 0.25
        before = engine.asked
        assert not stop.after_step(step)
        if engine.asked > before:
            asked_at.append(step)
    assert asked_at == [1, 9, 17, 25]  # 8 steps are the 2 seconds
    other[1] = 10.0  # a step takes the other one longer than that
    for step in range(30, 36):
        clock[0] += 0.25
        assert not stop.after_step(step)
    assert engine.asked == 4 + 3  # at 33, and from then on after every step
    request.ask(Signals.SIGINT)
    assert stop.after_step(36) and stop.signal is Signals.SIGINT
    request.signal, other[0] = None, Signals.SIGTERM
    assert stop.at_boundary(37) and stop.signal is Signals.SIGTERM and not stop.asked_here


def test_nobody_is_asked_where_nobody_can_ask() -> None:
    engine = TwoProcesses(lambda: (1.0, 1.0))
    stop = Stopping(engine, None)  # type: ignore[arg-type]
    assert not stop.after_step(1) and not stop.at_boundary(1) and not stop.asked_here
    assert engine.asked == 0


def test_one_process_looks_at_its_own_request_alone() -> None:
    request = StopRequest()
    stop = Stopping(Engine("cpu", "32"), request)
    assert not stop.after_step(1) and not stop.asked_here
    request.ask()
    request.ask(Signals.SIGINT)  # the first is remembered
    assert stop.after_step(2) and stop.signal is Signals.SIGTERM
