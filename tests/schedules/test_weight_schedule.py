"""Weights over the epochs: the temperature's formulas, but down to 0, and where the plan shows them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.schedules import (
    CURVE_KINDS,
    LearningRateSchedule,
    Schedules,
    TemperatureSchedule,
    ThawSchedule,
    WeightSchedule,
    make_plan,
)

positive = st.floats(0.05, 50.0)


def schedules(**weights: WeightSchedule) -> Schedules:
    return Schedules(3, 1e-3, ("deep", "shallow"), ThawSchedule(), LearningRateSchedule(), None, weights)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", [1.0, 0.75, 0.5, 0.25, 0.0]),
        ("cosine", [1.0, 0.8535533906, 0.5, 0.1464466094, 0.0]),
        ("constant", [1.0] * 5),
    ],
)
def test_every_epoch_down_to_zero(kind: Any, expected: list[float]) -> None:
    schedule = WeightSchedule(kind, 1.0, 0.0)
    column = [schedule.at(epoch, 5) for epoch in range(5)]
    assert column == pytest.approx(expected, abs=1e-9)
    assert (column[0], column[-1]) == (expected[0], expected[-1])  # exactly


def test_milestones_may_be_zero() -> None:
    schedule = WeightSchedule("piecewise", milestones={1: 0.0, 3: 2.0})
    assert [schedule.at(epoch, 5) for epoch in range(5)] == [0.0, 0.0, 1.0, 2.0, 2.0]


@given(st.sampled_from([kind for kind in CURVE_KINDS if kind != "piecewise"]), positive, positive, st.integers(1, 99))
def test_weight_and_temperature_are_one_formula(kind: Any, initial: float, final: float, epochs: int) -> None:
    weight, temperature = WeightSchedule(kind, initial, final), TemperatureSchedule(kind, initial, final)
    for epoch in range(epochs):
        assert weight.at(epoch, epochs) == temperature.at(epoch, epochs)
        assert weight.at(epoch, epochs) <= weight.highest * (1 + 1e-12)


def test_the_highest_value() -> None:
    assert WeightSchedule("linear", 0.2, 0.7).highest == WeightSchedule("cosine", 0.7, 0.2).highest == 0.7
    assert WeightSchedule("constant", 0.2, 0.7).highest == 0.2
    assert WeightSchedule("piecewise", 9.0, 9.0, {0: 0.5, 4: 0.1}).highest == 0.5


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("end", ["initial", "final"])
def test_a_weight_is_finite_and_not_negative(end: str, value: float) -> None:
    with pytest.raises(SnowmeltError, match=f"{end} weight is {value}; .*not negative"):
        WeightSchedule(**{end: value})  # type: ignore[arg-type]
    with pytest.raises(SnowmeltError, match="weight of milestone 3 is"):
        WeightSchedule("piecewise", milestones={0: 1.0, 3: value})


def test_an_exponential_weight_neither_leaves_zero_nor_reaches_it() -> None:
    for initial, final in ((0.0, 1.0), (1.0, 0.0)):
        with pytest.raises(SnowmeltError, match="is 0; an exponential weight must be positive"):
            WeightSchedule("exponential", initial, final)
    assert WeightSchedule("exponential", 1.0, 0.25).at(1, 3) == pytest.approx(0.5)


def test_mistakes_speak_of_weights() -> None:
    with pytest.raises(SnowmeltError, match="weight kind 'steps' does not exist"):
        WeightSchedule("steps")  # type: ignore[arg-type]
    with pytest.raises(SnowmeltError, match="a piecewise weight needs milestones"):
        WeightSchedule("piecewise")


def test_the_plan_shows_the_scheduled_weights_of_each_epoch() -> None:
    plan = make_plan(schedules(alpha=WeightSchedule("linear", 0.5, 0.0), kl=WeightSchedule("constant", 2.0)))
    assert [row.weights for row in plan.epochs] == [{"alpha": alpha, "kl": 2.0} for alpha in (0.5, 0.25, 0.0)]
    rows = json.loads(json.dumps(plan.to_dict()))["epochs"]
    assert [row["weights"]["alpha"] for row in rows] == [0.5, 0.25, 0.0]


def test_without_scheduled_weights_the_plan_says_nothing_of_them() -> None:
    assert schedules().weights_at(1) == {}
    assert all("weights" not in row for row in make_plan(schedules()).to_dict()["epochs"])


def test_alpha_is_a_share() -> None:
    with pytest.raises(SnowmeltError, match=r"alpha rises to 1.5; a share is at most 1"):
        schedules(alpha=WeightSchedule("linear", 0.0, 1.5))
    schedules(alpha=WeightSchedule("constant", 1.0, 1.5), kl=WeightSchedule("linear", 0.0, 1.5))
