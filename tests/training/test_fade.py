"""Distillation fades once the student has passed its teacher, and says so."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import Recorder, start_run

from snowmelt.errors import SnowmeltError
from snowmelt.training import DistillationFade, Message, TrainState, fit
from snowmelt.training.events import EpochEnded, EpochRecord


def test_the_factor_epoch_by_epoch() -> None:
    fade = DistillationFade(enabled=True, epochs=4)
    assert [fade.factor(epoch, 2) for epoch in range(9)] == [1, 1, 1, 0.75, 0.5, 0.25, 0, 0, 0]
    assert DistillationFade(True, 1).factor(3, 2) == 0
    assert [fade.factor(epoch, None) for epoch in (0, 99)] == [1, 1]
    assert DistillationFade(enabled=False).factor(99, 2) == 1


@given(st.integers(1, 40), st.integers(0, 50))
def test_a_fade_is_a_straight_line_from_one_to_zero(epochs: int, fade_from: int) -> None:
    fade = DistillationFade(True, epochs)
    line = [fade.factor(epoch, fade_from) for epoch in range(fade_from, fade_from + epochs + 1)]
    assert (line[0], line[-1]) == (1, 0)
    assert all(before - after == pytest.approx(1 / epochs) for before, after in pairwise(line))


def test_it_begins_once_and_only_where_the_teacher_is_reached() -> None:
    fade = DistillationFade(True)
    assert fade.begins(0.5, 0.5, None) and fade.begins(0.6, 0.5, None)
    assert not fade.begins(0.49, 0.5, None)
    assert not fade.begins(0.6, 0.5, 3)
    assert not fade.begins(0.6, None, None)
    assert not fade.begins(math.nan, 0.5, None) and not fade.begins(0.5, math.nan, None)
    assert not DistillationFade(False).begins(0.6, 0.5, None)


def test_a_fade_takes_time() -> None:
    with pytest.raises(SnowmeltError, match="fades over 0 epochs"):
        DistillationFade(True, 0)


def test_checkpoints_of_before_there_was_a_fade_have_none() -> None:
    old = TrainState(step=3).to_dict()
    del old["fade_from"]
    assert TrainState.from_dict(old) == TrainState(step=3, fade_from=None)


def run_past_a_poor_teacher(folder: Path, **changes: Any) -> tuple[list[EpochRecord], list[str], TrainState]:
    recorder = Recorder()
    run = start_run(folder, listeners=(recorder,), **changes)
    run.teacher = run.examiner = lambda batch: torch.ones(len(batch), 1, 64, 64)  # sees persons everywhere
    state = fit(run)
    said = [event.text for event in recorder.of(Message) if event.level == "warning" and "teacher" in event.text]
    return [event.record for event in recorder.of(EpochEnded)], said, state


def test_a_run_fades_and_says_so_once(tmp_path: Path) -> None:
    records, said, state = run_past_a_poor_teacher(
        tmp_path, distillation={"adaptive": True, "adaptive_epochs": 2, "alpha": 0.8}
    )
    passed = next(record for record in records if record.miou >= (record.teacher_miou or 1))
    assert state.fade_from == passed.epoch < 2
    factors = {0: 1.0, 1: 0.5, 2: 0.0, 3: 0.0}
    expected = [0.8 * factors[max(0, record.epoch - passed.epoch)] for record in records]
    assert [record.alpha for record in records] == expected
    for record in records:
        for terms in (record.train, record.val):
            mixed = (1 - record.alpha) * terms["task"] + record.alpha * terms["distill"]
            assert terms["total"] == pytest.approx(mixed, rel=1e-5)
    assert len({frozenset(record.train) for record in records}) == 1  # no term comes or goes
    assert said == [
        f"the student (mIoU {passed.miou:.4f}) has passed its teacher ({passed.teacher_miou:.4f}) in epoch "
        f"{passed.epoch}: distillation fades out over the next 2 epochs"
    ]


def test_without_it_nothing_fades(tmp_path: Path) -> None:
    records, said, state = run_past_a_poor_teacher(tmp_path, training={"epochs": 2})
    assert state.fade_from is None and {record.alpha for record in records} == {0.5}
    assert all("fades" not in text for text in said)


def test_an_epoch_that_was_cut_begins_no_fade(tmp_path: Path) -> None:
    _, said, state = run_past_a_poor_teacher(tmp_path, distillation={"adaptive": True}, training={"max_steps": 1})
    assert state.fade_from is None and all("fades" not in text for text in said)


def test_scheduled_weights_reach_the_loss_and_the_record(tmp_path: Path) -> None:
    recorder = Recorder()
    schedules = {
        "alpha": {"kind": "linear", "initial": 0.8, "final": 0.0},
        "dice_weight": {"kind": "linear", "initial": 0.0, "final": 2.0},
    }
    run = start_run(
        tmp_path, listeners=(recorder,), distillation={"weight_schedules": schedules}, training={"epochs": 3}
    )
    fit(run)
    records = [event.record for event in recorder.of(EpochEnded)]
    assert [record.alpha for record in records] == pytest.approx([0.8, 0.4, 0.0])
    assert [dict(record.weights) for record in records] == [run.schedules.weights_at(epoch) for epoch in range(3)]
    for record, dice in zip(records, (0.0, 1.0, 2.0), strict=True):
        for terms in (record.train, record.val):
            assert terms["task"] == pytest.approx(terms["cross_entropy"] + dice * terms["dice"], rel=1e-5)
            mixed = (1 - record.alpha) * terms["task"] + record.alpha * terms["distill"]
            assert terms["total"] == pytest.approx(mixed, rel=1e-5)


def test_without_a_teacher_there_is_no_alpha(tmp_path: Path) -> None:
    recorder = Recorder()
    fit(start_run(tmp_path, teacher=False, listeners=(recorder,), training={"epochs": 1}))
    (record,) = [event.record for event in recorder.of(EpochEnded)]
    assert record.alpha is None and record.weights == {}
