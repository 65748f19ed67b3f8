"""Bad steps that do not end take the run back to its last good checkpoint, and after the last time to its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import CONSTANT, start_faulty
from tiny_runs import Recorder, same_tensors, start_run

from snowmelt.errors import SnowmeltError
from snowmelt.reporting import MetricTables, NotFiniteReport, RunFolder, read_metrics
from snowmelt.training import Listener, Message, TrainingRun, TrainState, fit
from snowmelt.training.events import EpochEnded, Event, NotFinite, RolledBack, StageStarted, StepEnded
from snowmelt.training.saving import parts_of

HEALS = 0.5
SPOILT = range(5, 99)  # steps done before; the row begins with the last step of epoch 2 and runs through its end


class Killed(Exception):
    pass


class Killer(Listener):
    """Ends the process, so to speak, as soon as it is told of an event of this kind."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def receive(self, event: Event) -> None:
        if isinstance(event, self._kind):
            raise Killed


def factor_of(folder: RunFolder) -> float:
    path = folder.checkpoints / "last.ckpt"
    return torch.load(path, weights_only=True)["state"]["rate_factor"] if path.exists() else 1.0


def train(root: Path, *listeners: Listener, heals_at: float = HEALS, **changes: Any) -> TrainState:
    folder = RunFolder(root)
    root.mkdir(exist_ok=True)
    run, _ = start_faulty(
        folder.checkpoints,
        SPOILT.__contains__,
        heals_at,
        listeners=(MetricTables(folder), NotFiniteReport(folder), *listeners),
        factor=factor_of(folder),
        **changes,
    )
    return fit(run)


def assert_same_end(root: Path, reference: Path) -> None:
    left, right = (
        torch.load(RunFolder(each).checkpoints / "last.ckpt", weights_only=True) for each in (root, reference)
    )
    for part in ("network", "optimizer", "average"):
        assert same_tensors(left[part], right[part])
    assert left["state"] == right["state"]
    assert RunFolder(root).metrics_file.read_bytes() == RunFolder(reference).metrics_file.read_bytes()
    bests = [RunFolder(each).checkpoints / "best.safetensors" for each in (root, reference)]
    assert bests[0].read_bytes() == bests[1].read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Recorder, TrainState]]:
    root, recorder = tmp_path_factory.mktemp("rollback") / "whole", Recorder()
    yield root, recorder, train(root, recorder, training={"average": 0.7})


def test_the_run_goes_back_to_the_last_epoch_that_ended_well(whole: tuple[Path, Recorder, TrainState]) -> None:
    _, recorder, state = whole
    (back,) = recorder.of(RolledBack)
    assert (back.first_epoch, back.first_step, back.factor, back.rollbacks) == (2, 4, 0.5, 1)
    steps = recorder.of(StepEnded)
    assert [event.step for event in steps] == [1, 2, 3, 4, 5, 6, 7, 5, 6, 7, 8]
    rates = [{name: rate for name, rate in event.learning_rates.items()} for event in steps]
    assert all(rates[7][name] == rate / 2 for name, rate in rates[4].items())
    # Epoch 3 had begun, and with it another block; it is frozen again.
    assert [event.thawed_blocks for event in recorder.of(StageStarted)] == [0, 1, 2, 3, 2, 3]
    assert (state.step, state.rate_factor, state.skipped_in_a_row) == (8, 0.5, 0)
    warned = [event.text for event in recorder.of(Message) if event.level == "warning" and "back to" in event.text]
    assert len(warned) == 1 and warned[0].startswith(
        "epoch 3, step 7: teacher output (Tiny) not finite in 2 steps in a row: back to epoch 2, step 4, with every "
        "rate at 0.5 of its schedule (rollback 1 of 3); images in the last of them: scene-"
    )


def test_no_row_is_there_twice_and_later_ones_tell_of_it(whole: tuple[Path, Recorder, TrainState]) -> None:
    rows = read_metrics(RunFolder(whole[0]).metrics_file)
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["rollbacks"] for row in rows] == [None, None, 1, 1]
    assert [row["skipped_steps"] for row in rows] == [0, 0, 0, 0]
    assert [row["lr/decoder"] for row in rows] == [1e-3, 1e-3, 5e-4, 5e-4]


def test_the_report_says_what_happened_when(whole: tuple[Path, Recorder, TrainState]) -> None:
    root, _, state = whole
    content = json.loads(RunFolder(root).not_finite_file.read_text())
    (event,) = content["events"]
    assert content["events"] == state.rollbacks and not content["stopped"]
    assert (event["epoch"], event["step"], event["steps_in_a_row"]) == (3, 7, 2)
    assert event["not_finite"] == {"teacher output": 2} and event["teacher"] == "Tiny"
    assert event["back_to"] == {"epoch": 2, "step": 4}
    assert event["rates"]["decoder"] == 1e-3 and (event["factor"], event["factor_from_here"]) == (1.0, 0.5)
    assert event["images"] and all(name.startswith("scene-") for name in event["images"])


def test_what_comes_after_is_what_lower_rates_from_there_on_give(
    whole: tuple[Path, Recorder, TrainState], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates_at = TrainingRun.rates_at

    def lowered(run: TrainingRun, state: TrainState, position: float) -> dict[str, float]:
        return {name: rate * (0.5 if state.step >= 4 else 1) for name, rate in rates_at(run, state, position).items()}

    monkeypatch.setattr(TrainingRun, "rates_at", lowered)
    run = start_run(tmp_path, optimizer=CONSTANT, training={"average": 0.7})
    fit(run)
    other = torch.load(RunFolder(whole[0]).checkpoints / "last.ckpt", weights_only=True)
    assert run.average is not None
    assert same_tensors(dict(run.network.state_dict()), other["network"])
    assert same_tensors(run.average.state_dict(), other["average"])
    assert same_tensors(run.optimizer.state_dict()["state"], other["optimizer"]["state"])


def test_cut_after_every_step_the_end_is_the_same(whole: tuple[Path, Recorder, TrainState], tmp_path: Path) -> None:
    """Before, in and after the row; a cut saves inside of an epoch, which is no place to go back to."""
    for cut in [*range(1, 8), None]:
        train(tmp_path / "run", training={"average": 0.7, "max_steps": cut})
    assert_same_end(tmp_path / "run", whole[0])


@pytest.mark.parametrize("kind", [NotFinite, RolledBack])
def test_killed_while_it_goes_back(kind: type, whole: tuple[Path, Recorder, TrainState], tmp_path: Path) -> None:
    training = {"average": 0.7, "checkpoint_every": 1}
    with pytest.raises(Killed):
        train(tmp_path / "run", Killer(kind), training=training)
    assert factor_of(RunFolder(tmp_path / "run")) == 0.5
    train(tmp_path / "run", training=training)
    assert_same_end(tmp_path / "run", whole[0])


def test_after_the_last_time_the_run_ends_with_one_line(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(SnowmeltError) as caught:
        train(tmp_path, recorder, heals_at=0.0, training={"rollback_scale": 0.1})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(
        "epoch 3, step 7: teacher output (Tiny) not finite in 2 steps in a row (after 3 rollbacks); not_finite.json in "
        "the run folder has what happened when; check the teacher, its precision (--precision 32) and the images, the "
        "last of which were scene-"
    )
    assert [round(event.factor, 9) for event in recorder.of(RolledBack)] == [0.1, 0.01, 0.001]
    told = recorder.of(NotFinite)
    assert [event.stops for event in told] == [False, False, False, True]
    content = json.loads(RunFolder(tmp_path).not_finite_file.read_text())
    assert content["stopped"] and len(content["events"]) == 4 and content["events"][-1]["back_to"] is None


def test_without_rollbacks_the_first_row_ends_the_run(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(SnowmeltError, match=r"2 steps in a row; not_finite\.json"):
        train(tmp_path, recorder, training={"rollbacks": 0})
    assert not recorder.of(RolledBack) and [event.stops for event in recorder.of(NotFinite)] == [True]


def test_before_the_first_epoch_is_over_it_goes_back_to_the_start(tmp_path: Path) -> None:
    """Also where the run was cut in that epoch, and the weights of the start are nowhere else any more."""
    ends = []
    for name, cuts in (("whole", [None]), ("cut", [1, 2, None])):
        for cut in cuts:
            folder = RunFolder(tmp_path / name)
            training = {"batch_size": 1, "epochs": 2, "max_steps": cut}
            run, _ = start_faulty(
                folder.checkpoints, {1, 2}.__contains__, HEALS, factor=factor_of(folder), training=training
            )
            state = fit(run)
        assert [event["back_to"] for event in state.rollbacks] == [{"epoch": 0, "step": 0}]
        ends.append(run)
    assert same_tensors(*(dict(run.network.state_dict()) for run in ends))


@pytest.mark.parametrize("log_every", [1, 99])
def test_it_does_not_matter_when_somebody_looks(log_every: int, tmp_path: Path) -> None:
    """A row that is over when the losses are read was too long all the same."""
    recorder = Recorder()
    training = {"batch_size": 1, "epochs": 2, "log_every": log_every}
    run, _ = start_faulty(tmp_path, {7, 8}.__contains__, HEALS, listeners=(recorder,), training=training)
    state = fit(run)
    (back,) = recorder.of(RolledBack)
    assert (back.first_step, state.step) == (6, 12)
    assert recorder.of(StepEnded)[8 if log_every == 1 else 12].step == (9 if log_every == 1 else 7)
    assert state.rollbacks[0]["not_finite"] == {"teacher output": 2}


def test_a_single_bad_step_is_no_reason_to_go_back(tmp_path: Path) -> None:
    recorder = Recorder()
    run, _ = start_faulty(tmp_path, {1, 3, 5}.__contains__, listeners=(recorder,))
    assert fit(run).rollbacks == [] and not recorder.of(RolledBack)
    assert [event.record.skipped_steps for event in recorder.of(EpochEnded)] == [1, 1, 1, 0]


def test_weights_beyond_all_bounds_end_the_run_with_one_line(tmp_path: Path) -> None:
    """AdamW's first step moves every weight by the rate; norms make the loss of such weights look like any other."""
    recorder = Recorder()
    run = start_run(tmp_path, listeners=(recorder,), optimizer={"lr": 1e30}, training={"max_skipped": 2})
    with pytest.raises(SnowmeltError, match=r"not finite.* \(after 3 rollbacks\); .*lower --set optimizer\.lr"):
        fit(run)
    assert len(recorder.of(RolledBack)) == 3


def test_an_epoch_whose_weights_answer_nothing_finite_is_neither_scored_nor_saved(tmp_path: Path) -> None:
    recorder = Recorder()
    run = start_run(tmp_path, listeners=(recorder,), training={"epochs": 2})

    class Spoiler(Listener):
        def receive(self, event: Event) -> None:
            if isinstance(event, StepEnded) and event.step == 4 and not recorder.of(RolledBack):
                with torch.no_grad():
                    run.network.segmentation_head[0].bias.fill_(float("inf"))

    run.announcer.listeners.append(Spoiler())
    state = fit(run)
    (event,) = state.rollbacks
    assert event["not_finite"] == {"answers on all validation images": 1} and event["back_to"]["step"] == 2
    assert [each.record.epoch for each in recorder.of(EpochEnded)] == [0, 1]
    assert all(bool(torch.isfinite(value).all()) for value in run.network.state_dict().values())


def test_the_best_weights_are_those_of_the_epochs_that_count(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    run.stepper = run.engine.set_up(run.optimizer)
    checkpoints, best = run.checkpoints, tmp_path / "best.safetensors"

    def score(epoch: int, among_bad: bool) -> TrainState:
        state = TrainState(epoch=epoch, best_epoch=epoch, best_miou=0.5 + epoch / 10)
        state.skipped_in_a_row = int(among_bad)
        checkpoints.save_best(state, run.network)
        state.next_epoch()
        checkpoints.save_last(state, run.network, run.optimizer)
        return state

    checkpoints.save_start(TrainState(), parts_of(run))
    score(0, among_bad=True)
    checkpoints.go_back(TrainState())
    assert not best.exists()
    good = score(1, among_bad=False)
    before = best.read_bytes()
    for epoch in (2, 3, 4, 5):  # more than there are checkpoints to resume from
        score(epoch, among_bad=True)
    assert best.read_bytes() != before and (tmp_path / "good.ckpt").exists()
    checkpoints.go_back(good)
    assert best.read_bytes() == before
    score(6, among_bad=False)
    assert not (tmp_path / "good.ckpt").exists()
