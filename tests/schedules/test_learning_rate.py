"""The learning-rate factor: closed forms, both ends, no jumps, and no dependence on the length of an epoch."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.schedules import LEARNING_RATE_KINDS, LearningRateSchedule

EPOCHS = 50

schedules = st.builds(
    LearningRateSchedule,
    kind=st.sampled_from(LEARNING_RATE_KINDS),
    warmup=st.floats(0, 8),
    cooldown=st.floats(0.05, 1.0),
    floor=st.floats(0, 1),
)


def test_the_default_holds_the_full_rate_until_the_last_block_thaws() -> None:
    factors = [LearningRateSchedule().factor(epoch, EPOCHS) for epoch in range(EPOCHS + 1)]
    assert factors[0] == pytest.approx(0.05)
    assert factors[1:41] == pytest.approx([1.0] * 40)  # epoch 40 thaws the seventh block
    assert factors[41:] == pytest.approx([0.01 + 0.99 * left / 10 for left in range(9, -1, -1)])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0, 1.0]),
        ("trapezoid", [1.0, 1.0, 1.0, 0.55, 0.1]),
        ("cosine", [1.0, 0.1 + 0.45 * (1 + math.sqrt(0.5)), 0.55, 0.1 + 0.45 * (1 - math.sqrt(0.5)), 0.1]),
        ("poly", [1.0, 0.1 + 0.9 * 0.75**0.9, 0.1 + 0.9 * 0.5**0.9, 0.1 + 0.9 * 0.25**0.9, 0.1]),
    ],
)
def test_each_curve_at_the_quarters_of_a_run(kind: str, expected: list[float]) -> None:
    schedule = LearningRateSchedule(kind=kind, warmup=0, cooldown=0.5, floor=0.1)
    assert [schedule.factor(position, 40) for position in (0, 10, 20, 30, 40)] == pytest.approx(expected)


def test_a_cosine_leaves_a_tenth_for_the_last_block_of_the_reference() -> None:
    assert LearningRateSchedule(kind="cosine").factor(40, EPOCHS) == pytest.approx(0.1, abs=0.01)


def test_warm_up_rises_straight_from_a_twentieth() -> None:
    schedule = LearningRateSchedule(kind="constant", warmup=4)
    factors = [schedule.factor(position, EPOCHS) for position in (0, 1, 2, 3, 4, 5)]
    assert factors == pytest.approx([0.05, 0.2875, 0.525, 0.7625, 1.0, 1.0])


def test_warm_up_takes_at_most_a_tenth_of_a_short_run() -> None:
    schedule = LearningRateSchedule(kind="constant", warmup=4)
    assert schedule.factor(0.1, 2) == pytest.approx(0.525)
    assert schedule.factor(0.2, 2) == 1.0
    assert schedule.factor(0.9, 10) < 1.0
    assert schedule.factor(1.0, 10) == 1.0


def test_no_warm_up_starts_at_the_full_rate() -> None:
    assert LearningRateSchedule(kind="constant", warmup=0).factor(0, EPOCHS) == 1.0


@pytest.mark.parametrize("kind", LEARNING_RATE_KINDS)
@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_the_end_is_the_floor_exactly(kind: str, epochs: int) -> None:
    schedule = LearningRateSchedule(kind=kind, floor=0.02)
    assert schedule.factor(epochs, epochs) == (1.0 if kind == "constant" else 0.02)


@given(schedules, st.integers(1, 100), st.floats(0, 1))
def test_the_factor_is_above_nothing_and_at_most_one(schedule: LearningRateSchedule, epochs: int, share: float) -> None:
    factor = schedule.factor(share * epochs, epochs)
    low = 0.05 * schedule.floor
    assert low - 1e-12 <= factor <= 1 + 1e-12


@pytest.mark.parametrize("kind", LEARNING_RATE_KINDS)
@pytest.mark.parametrize("warmup", [0, 1, 3])
def test_no_jump_anywhere(kind: str, warmup: float) -> None:
    """Neighbours a thousandth of an epoch apart differ by no more than the steepest slope allows.

    Steepest are the warm-up (0.95 over its length), the cool-down (1 over a fifth of the run), the cosine's middle
    (pi/2 over the run) and, without bound at its very end but small by then, the polynomial's 0.9th power.
    """
    schedule = LearningRateSchedule(kind=kind, warmup=warmup)
    fine = 1000
    column = [schedule.factor(index / fine, EPOCHS) for index in range(EPOCHS * fine + 1)]
    slope = max(0.95 / warmup if warmup else 0.0, 1 / (0.2 * EPOCHS), math.pi / 2 / EPOCHS)
    steps = [abs(after - before) for before, after in pairwise(column)]
    assert max(steps) <= 1.1 * slope / fine


@given(schedules, st.integers(1, 60), st.integers(1, 40), st.integers(2, 9))
def test_the_position_counts_and_not_the_number_of_steps(
    schedule: LearningRateSchedule, epochs: int, steps: int, times: int
) -> None:
    """A data set that is ``times`` as large visits the same rates at the same share of the run."""
    for step in range(0, epochs * steps, max(1, epochs * steps // 7)):
        small = schedule.factor(step / steps, epochs)
        large = schedule.factor(step * times / (steps * times), epochs)
        assert small == pytest.approx(large, abs=1e-9)


@given(schedules, st.integers(1, 60))
def test_after_the_warm_up_the_factor_only_falls(schedule: LearningRateSchedule, epochs: int) -> None:
    warm = min(schedule.warmup, epochs / 10)
    positions = [warm + (epochs - warm) * index / 100 for index in range(101)]
    column = [schedule.factor(min(position, epochs), epochs) for position in positions]
    assert all(after <= before + 1e-9 for before, after in pairwise(column))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "step"}, "'step' does not exist; choose one of constant"),
        ({"warmup": -1.0}, "warm-up is -1.0"),
        ({"warmup": math.nan}, "warm-up is nan"),
        ({"warmup": math.inf}, "warm-up is inf"),
        ({"cooldown": 0.0}, "share is 0.0"),
        ({"cooldown": 1.5}, "share is 1.5"),
        ({"cooldown": math.nan}, "share is nan"),
        ({"floor": -0.1}, "floor is -0.1"),
        ({"floor": 1.1}, "floor is 1.1"),
        ({"floor": math.nan}, "floor is nan"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(values: dict[str, float], message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        LearningRateSchedule(**values)


@pytest.mark.parametrize("position", [-0.1, 50.1, math.nan])
def test_a_position_outside_the_run_is_refused(position: float) -> None:
    with pytest.raises(SnowmeltError, match="outside the run"):
        LearningRateSchedule().factor(position, EPOCHS)
