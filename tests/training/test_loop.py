"""The loop's decisions: when it stops, what it says, what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import QUICKLY_COMPILED, Recorder, same_tensors, start_run

from snowmelt.errors import SnowmeltError
from snowmelt.training import Message, TrainingRun, TrainState, fit
from snowmelt.training.events import EpochEnded, RunEnded, RunStarted, StageCompiled, StageStarted, StepEnded
from snowmelt.training.stages import calibrate, enter_stage


def recorded(folder: Path, **changes: Any) -> tuple[Recorder, TrainState]:
    recorder = Recorder()
    run = start_run(folder, listeners=(recorder,), **changes)
    return recorder, fit(run)


def test_events_of_a_whole_run(tmp_path: Path) -> None:
    recorder, state = recorded(tmp_path)
    (started,) = recorder.of(RunStarted)
    assert (started.epochs, started.steps_per_epoch, started.last_step, started.resumed) == (4, 2, 8, False)
    assert [event.thawed_blocks for event in recorder.of(StageStarted)] == [0, 1, 2, 3]
    assert [event.step for event in recorder.of(StepEnded)] == list(range(1, 9))
    records = [event.record for event in recorder.of(EpochEnded)]
    assert [record.epoch for record in records] == [0, 1, 2, 3]
    assert all(record.complete and record.agreement is not None for record in records)
    (ended,) = recorder.of(RunEnded)
    assert (ended.reason, ended.step) == ("complete", 8)
    assert ended.best_miou == max(record.miou for record in records) == state.best_miou
    assert all(set(record.train) == set(record.val) for record in records)


def test_the_rate_at_every_step_is_base_times_schedule_times_scale(tmp_path: Path) -> None:
    recorder, _ = recorded(tmp_path)
    run = start_run(tmp_path / "other")
    for index, event in enumerate(recorder.of(StepEnded)):
        factor = run.schedules.learning_rate.factor(index / 2, 4)
        expected = dict.fromkeys(run.thaw.blocks, 1e-3 * factor * 0.5)
        assert event.learning_rates == pytest.approx({"decoder": 1e-3 * factor, **expected}, rel=1e-12)


def test_the_optimizer_really_gets_that_rate(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    seen: list[dict[str, float]] = []
    run.optimizer.register_step_pre_hook(
        lambda optimizer, *_: seen.append({group["name"]: group["lr"] for group in optimizer.param_groups})
    )
    fit(run)
    assert seen == [run.schedules.learning_rates_at(index / 2) for index in range(8)]


def test_max_steps_inside_an_epoch_is_scored_logged_and_saved(tmp_path: Path) -> None:
    recorder, state = recorded(tmp_path, training={"max_steps": 3})
    assert [event.record.complete for event in recorder.of(EpochEnded)] == [True, False]
    assert recorder.of(RunEnded)[0].reason == "max_steps"
    assert (state.step, state.epoch, state.step_in_epoch) == (3, 1, 1)
    assert (tmp_path / "last.ckpt").exists() and (tmp_path / "best.safetensors").exists()


def test_patience_ends_a_run_without_progress(tmp_path: Path) -> None:
    recorder = Recorder()
    training, still = {"epochs": 20, "patience": 2}, {"lr": 1e-9}  # statistics of norms settle in the meantime
    run = start_run(tmp_path, listeners=(recorder,), training=training, optimizer=still, thaw={"start": 99})
    state = fit(run)
    assert recorder.of(RunEnded)[0].reason == "plateau"
    assert state.epoch == state.best_epoch + 3 < 20


def test_losses_that_stay_not_finite_stop_the_run(tmp_path: Path) -> None:
    run = start_run(tmp_path, training={"max_skipped": 3})
    run.teacher = lambda batch: torch.full((len(batch), 1, 64, 64), float("inf"))
    with pytest.raises(SnowmeltError, match=r"epoch 1, step 3: .* 3 steps in a row"):
        fit(run)


def test_a_single_bad_step_is_counted_and_the_mean_leaves_it_out(tmp_path: Path) -> None:
    recorder = Recorder()
    run = start_run(tmp_path, listeners=(recorder,), training={"epochs": 1, "max_skipped": 5})
    teacher, calls = run.teacher, iter(range(99))
    assert teacher is not None
    run.teacher = lambda batch: teacher(batch) * (float("nan") if next(calls) == 0 else 1.0)
    fit(run)
    (record,) = [event.record for event in recorder.of(EpochEnded)]
    assert record.skipped_steps == 1
    losses = [event.losses for event in recorder.of(StepEnded)]
    assert record.train["total"] == pytest.approx(losses[1]["total"])


def test_a_frozen_random_encoder_is_calibrated_before_the_first_step(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    enter_stage(run, TrainState())
    before = {name: value.clone() for name, value in run.network.encoder.state_dict().items()}
    calibrate(run, TrainState())
    after = run.network.encoder.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed and all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)


def test_an_encoder_that_learns_at_once_is_not_calibrated(tmp_path: Path) -> None:
    run = start_run(tmp_path, thaw={"progressive": False})
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    calibrate(run, TrainState())
    assert same_tensors(dict(run.network.state_dict()), before)


def test_an_encoder_whose_norms_never_count_is_calibrated_and_keeps_those_statistics(tmp_path: Path) -> None:
    run = start_run(tmp_path, thaw={"progressive": False, "norm_eval": True}, training={"max_steps": 2})
    before = statistics_of(run)
    fit(run)
    after = statistics_of(run)
    assert not any(torch.equal(after[name], before[name]) for name in before if name.endswith("running_var"))
    again = start_run(tmp_path / "again", thaw={"progressive": False, "norm_eval": True})
    calibrate(again, TrainState())
    assert same_tensors(statistics_of(again), after)


def statistics_of(run: TrainingRun) -> dict[str, torch.Tensor]:
    norms = ("running_mean", "running_var", "num_batches_tracked")
    return {n: v.clone() for n, v in run.network.encoder.state_dict().items() if n.endswith(norms)}


@pytest.mark.parametrize("perfect", [False, True])
def test_it_is_said_when_the_student_has_caught_up(perfect: bool, tmp_path: Path) -> None:
    """Not with a teacher that knows the masks, but with one that says the opposite."""
    recorder = Recorder()
    run = start_run(tmp_path, listeners=(recorder,), training={"epochs": 1})
    run.teacher = run.examiner = lambda batch: ((batch.masks[:, None] == 1) == perfect).float() * 2 - 1
    state = fit(run)
    said = [event for event in recorder.of(Message) if "has caught up with its teacher" in event.text]
    record = recorder.of(EpochEnded)[0].record
    assert record.teacher_miou is not None
    assert bool(said) == (state.best_miou >= record.teacher_miou) == (not perfect)
    kinds = [type(event) for event in recorder.events]
    assert not said or (kinds.index(RunEnded) == len(kinds) - 1 and said[0].level == "info")


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiling_starts_anew_at_every_stage_and_gives_the_same_run(
    tmp_path: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 13: a compiled frame from before a thaw would leave the new block without gradients."""
    changes: dict[str, Any] = {"student": QUICKLY_COMPILED, "training": {"epochs": 3}}
    plain = start_run(tmp_path / "plain", **changes)
    fit(plain)
    recorder = Recorder()
    run = start_run(tmp_path / "compiled", listeners=(recorder,), **changes)
    run.engine._compile = backend
    compiled: list[int] = []
    really = torch.compile

    def counted(network: torch.nn.Module, **options: Any) -> Any:
        compiled.append(run.thaw.thawed)
        return really(network, **options)

    monkeypatch.setattr(torch, "compile", counted)
    fit(run)
    # Another order of summation moves a weight with a tiny gradient by up to a step of AdamW.
    steps = 6 * 1e-3
    for name, value in plain.network.state_dict().items():
        torch.testing.assert_close(run.network.state_dict()[name], value, rtol=0.02, atol=steps, msg=str(name))
    moved = [
        group["name"]
        for group in run.optimizer.param_groups
        if any(parameter in run.optimizer.state for parameter in group["params"])
    ]
    assert moved == ["decoder", *run.thaw.blocks[:2]]
    assert sorted(set(compiled)) == [0, 1, 2]
    told = recorder.of(StageCompiled)
    assert [event.epoch for event in told] == [0, 1, 2] and all(event.seconds > 0 for event in told)
    kinds = [type(event) for event in recorder.events if isinstance(event, StageStarted | StageCompiled | StepEnded)]
    assert kinds == [StageStarted, StageCompiled, StepEnded, StepEnded] * 3


def test_the_network_is_on_its_device_before_the_moments_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moments go where the parameters are when they are loaded; the other way round they stay on the CPU."""
    run = start_run(tmp_path, training={"epochs": 1})
    order: list[str] = []
    move, load = run.network.to, run.checkpoints.load_last
    monkeypatch.setattr(run.network, "to", lambda *given, **named: order.append("to") or move(*given, **named))
    monkeypatch.setattr(run.checkpoints, "load_last", lambda *given: order.append("load") or load(*given))
    fit(run)
    assert order.index("to") < order.index("load")


@pytest.mark.parametrize("thaw", [{"start": 0, "every": 9}, {"progressive": False, "most": 1}])
def test_an_encoder_of_which_a_part_starts_frozen_is_calibrated(tmp_path: Path, thaw: dict[str, Any]) -> None:
    run = start_run(tmp_path, thaw=thaw)
    enter_stage(run, TrainState())
    calibrate(run, TrainState())
    variances = [value for name, value in run.network.encoder.state_dict().items() if name.endswith("running_var")]
    assert not any(bool((value == 1).all()) for value in variances)
