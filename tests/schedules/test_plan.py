"""The plan says of every epoch what the schedules will do, and its stages end where the trainable set changes."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.schedules import (
    DECODER,
    LEARNING_RATE_KINDS,
    LearningRateSchedule,
    Plan,
    Schedules,
    TemperatureSchedule,
    ThawSchedule,
    make_plan,
)

BLOCKS = tuple(f"block{number}" for number in range(7, 0, -1))  # deepest first
COUNTS = {DECODER: 1000, **{name: 10 ** (index % 3) for index, name in enumerate(BLOCKS)}}

all_schedules = st.builds(
    Schedules,
    epochs=st.integers(1, 70),
    base_lr=st.floats(1e-6, 1e-1),
    blocks=st.integers(0, 8).map(lambda count: tuple(f"b{index}" for index in range(count))),
    thaw=st.builds(
        ThawSchedule,
        start=st.integers(0, 30),
        every=st.integers(1, 8),
        lr_scale=st.floats(0.001, 2.0),
        most=st.none() | st.integers(0, 8),
        progressive=st.booleans(),
    ),
    learning_rate=st.builds(LearningRateSchedule, kind=st.sampled_from(LEARNING_RATE_KINDS)),
    temperature=st.none() | st.just(TemperatureSchedule()),
)


def reference(epochs: int = 50) -> Schedules:
    return Schedules(
        epochs=epochs,
        base_lr=1e-3,
        blocks=BLOCKS,
        thaw=ThawSchedule(),
        learning_rate=LearningRateSchedule(),
        temperature=TemperatureSchedule(),
    )


def test_the_stages_of_the_reference_experiment() -> None:
    plan = make_plan(reference())
    assert [(stage.epochs, stage.thawed_blocks) for stage in plan.stages] == [
        ("0-9", 0),
        ("10-14", 1),
        ("15-19", 2),
        ("20-24", 3),
        ("25-29", 4),
        ("30-34", 5),
        ("35-39", 6),
        ("40-49", 7),
    ]
    assert [stage.learns for stage in plan.stages] == [(DECODER, *BLOCKS[:count]) for count in range(8)]


def test_the_epochs_of_the_reference_experiment() -> None:
    schedules = reference()
    plan = make_plan(schedules)
    assert [row.epoch for row in plan.epochs] == list(range(50))
    assert [row.thawed_blocks for row in plan.epochs] == [0] * 10 + [1 + index // 5 for index in range(30)] + [7] * 10
    assert [row.temperature for row in plan.epochs] == [TemperatureSchedule().at(epoch, 50) for epoch in range(50)]
    for row in plan.epochs:
        rate = 1e-3 * LearningRateSchedule().factor(row.epoch, 50)
        expected = {DECODER: rate, **{name: rate * 0.1 for name in BLOCKS}}
        assert dict(row.learning_rates) == pytest.approx(expected, rel=1e-12)
        assert list(row.learning_rates) == [DECODER, *BLOCKS]  # every group, frozen or not, in the optimizer's order


def test_a_stage_cools_to_where_the_next_one_begins() -> None:
    plan = make_plan(reference())
    firsts = [stage.temperature_from for stage in plan.stages]
    assert firsts == [TemperatureSchedule().at(epoch, 50) for epoch in (0, 10, 15, 20, 25, 30, 35, 40)]
    assert [stage.temperature_to for stage in plan.stages] == [*firsts[1:], 1.0]


def test_a_piecewise_temperature_gives_the_published_stages() -> None:
    milestones = {0: 4.0, 10: 3.5, 15: 3.0, 20: 2.5, 25: 2.0, 30: 1.5, 35: 1.3, 40: 1.1, 49: 1.0}
    piecewise = TemperatureSchedule(kind="piecewise", milestones=milestones)
    plan = make_plan(Schedules(50, 1e-3, BLOCKS, ThawSchedule(), LearningRateSchedule(), piecewise))
    spans = [(stage.temperature_from, stage.temperature_to) for stage in plan.stages]
    published = list(milestones.values())
    assert spans == list(pairwise(published))


def test_rates_of_a_stage_are_those_of_its_first_step_and_of_what_learns() -> None:
    plan = make_plan(reference())
    for stage in plan.stages:
        assert tuple(stage.learning_rates) == stage.learns
        first = plan.epochs[stage.first_epoch].learning_rates
        assert all(stage.learning_rates[name] == first[name] for name in stage.learns)


def test_a_thaw_changes_no_rate() -> None:
    """The rate just before an epoch in which a block thaws is the rate of its first step."""
    schedules = reference()
    for epoch in range(10, 41, 5):
        before, at = schedules.learning_rates_at(epoch - 1e-9), schedules.learning_rates_at(epoch)
        assert before == pytest.approx(at, rel=1e-6)


def test_trainable_parameters_add_up_over_what_learns() -> None:
    plan = make_plan(reference(), COUNTS)
    assert [stage.trainable_parameters for stage in plan.stages] == [1000, 1001, 1011, 1111, 1112, 1122, 1222, 1223]
    assert {stage.trainable_parameters for stage in make_plan(reference()).stages} == {None}


def test_without_a_teacher_there_is_no_temperature() -> None:
    plan = make_plan(Schedules(20, 1e-3, BLOCKS, ThawSchedule(), LearningRateSchedule()))
    assert {row.temperature for row in plan.epochs} == {None}
    assert {(stage.temperature_from, stage.temperature_to) for stage in plan.stages} == {(None, None)}


def test_a_run_of_one_epoch_is_one_stage() -> None:
    (stage,) = make_plan(reference(epochs=1)).stages
    assert (stage.epochs, stage.first_epoch, stage.last_epoch, stage.thawed_blocks) == ("0", 0, 0, 0)
    assert (stage.temperature_from, stage.temperature_to) == (1.0, 1.0)


def test_a_single_epoch_is_printed_without_a_span() -> None:
    thaw = ThawSchedule(start=1, every=1)
    plan = make_plan(Schedules(5, 1e-3, ("deep", "shallow"), thaw, LearningRateSchedule()))
    assert [stage.epochs for stage in plan.stages] == ["0", "1", "2-4"]


def test_the_plan_goes_to_json_and_back() -> None:
    plan = make_plan(reference(), COUNTS)
    data = json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    assert set(data) == {"epochs", "stages"}
    assert set(data["epochs"][0]) == {"epoch", "temperature", "thawed_blocks", "learning_rates"}
    assert [row["epoch"] for row in data["epochs"]] == list(range(50))
    assert data["epochs"][10]["thawed_blocks"] == 1
    assert data["epochs"][10]["learning_rates"] == dict(plan.epochs[10].learning_rates)
    assert [stage["epochs"] for stage in data["stages"]][:2] == ["0-9", "10-14"]
    assert data["stages"][1]["learns"] == [DECODER, "block7"]
    assert data["stages"][-1]["trainable_parameters"] == 1223


def test_a_thaw_that_may_wait_makes_every_stage_but_the_first_conditional() -> None:
    sure, unsure = make_plan(reference(), COUNTS), make_plan(reference(), COUNTS, conditional=True)
    assert [stage.conditional for stage in unsure.stages] == [False, *[True] * 7]
    assert unsure.epochs == sure.epochs and "conditional" not in json.dumps(sure.to_dict())
    assert [stage.get("conditional") for stage in unsure.to_dict()["stages"]] == [None, *[True] * 7]
    assert [{**stage, "conditional": None} for stage in unsure.to_dict()["stages"]] == [
        {**stage, "conditional": None} for stage in sure.to_dict()["stages"]
    ]


@given(all_schedules)
def test_stages_partition_the_epochs(schedules: Schedules) -> None:
    plan = make_plan(schedules)
    assert len(plan.epochs) == schedules.epochs
    spans = [range(stage.first_epoch, stage.last_epoch + 1) for stage in plan.stages]
    assert [epoch for span in spans for epoch in span] == list(range(schedules.epochs))
    for stage, span in zip(plan.stages, spans, strict=True):
        assert {plan.epochs[epoch].thawed_blocks for epoch in span} == {stage.thawed_blocks}
        assert stage.learns == (DECODER, *schedules.blocks[: stage.thawed_blocks])
    counts = [stage.thawed_blocks for stage in plan.stages]
    assert counts == sorted(set(counts))  # every stage differs from the one before


@given(all_schedules, st.integers(1, 20))
def test_the_plan_is_what_the_run_will_ask_for(schedules: Schedules, steps: int) -> None:
    plan: Plan = make_plan(schedules)
    for row in plan.epochs:
        assert row.temperature == schedules.temperature_at(row.epoch)
        assert row.thawed_blocks == schedules.thawed_at(row.epoch)
        assert row.learning_rates == schedules.learning_rates_at(row.epoch * steps / steps)


@pytest.mark.parametrize("epochs", [0, -3])
def test_a_run_has_at_least_one_epoch(epochs: int) -> None:
    with pytest.raises(SnowmeltError, match=f"epochs is {epochs}"):
        reference(epochs=epochs)
