"""The thaw guard, epoch by epoch, on losses written by hand."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.training import GuardState, ThawGuard, TrainState

NAN, INFINITY = math.nan, math.inf


def judged(
    validation: list[float],
    training: list[float] | None = None,
    thawed: int = 1,
    waiting: bool = True,
    start: GuardState | None = None,
    **numbers: Any,
) -> tuple[list[GuardState], list[str | None]]:
    """The state after each epoch, and what was done; training loss falls by itself where none is given."""
    guard = ThawGuard(**{"enabled": True, "patience": 2, **numbers})
    states, done, state = [], [], start or GuardState()
    for epoch, loss in enumerate(validation):
        falling = 1.0 - 0.01 * epoch
        state, reaction = guard.judge(state, loss, training[epoch] if training else falling, thawed, waiting)
        states.append(state)
        done.append(reaction)
    return states, done


def test_a_rise_holds_and_slows_and_its_end_undoes_both() -> None:
    losses = [1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.8, 0.79, 0.78]
    states, done = judged(losses)
    assert done == [None, None, None, "held", None, "slowed", None, "slowed", None, None, "recovered", None, None]
    assert [state.delay for state in states] == [0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7]
    factors = [state.factor(0) for state in states]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125, 0.125, 0.25, 0.5, 1]
    assert [state.holding for state in states] == [False] * 3 + [True] * 7 + [False] * 3
    assert [state.rising for state in states] == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0]
    assert [state.best for state in states] == [1.0] + [0.8] * 10 + [0.79, 0.78]
    assert states[-1].reactions == 3  # the floor was reached before the fourth


def test_a_rise_must_last() -> None:
    states, done = judged([1.0, 0.8, 0.9, 0.8, 0.9, 0.79, 0.9])
    assert done == [None] * 7 and states[-1].delay == 0 and states[-1].factors == []
    assert judged([1.0, 0.8, 0.9, 0.9], patience=3)[1] == [None] * 4
    assert judged([1.0, 0.8, 0.9], patience=1)[1] == [None, None, "held"]


def test_a_rise_of_both_losses_is_no_overfitting() -> None:
    """Training loss must be below what it was in the best epoch, not in the one before."""
    assert judged([0.8, 0.9, 0.9, 0.9], [0.5, 0.7, 0.6, 0.5])[1] == [None] * 4
    assert judged([0.8, 0.9, 0.9, 0.9], [0.5, 0.4, 0.45, 0.4])[1] == [None, None, "held", None]


def test_losses_that_only_fall_or_stand_still_change_nothing() -> None:
    for losses in ([1.0 - 0.01 * epoch for epoch in range(20)], [0.7] * 20):
        states, done = judged(losses)
        assert set(done) == {None}
        assert all((state.delay, state.factors, state.holding) == (0, [], False) for state in states)


def test_within_the_margin_is_no_rise() -> None:
    assert set(judged([1.0, 1.0049, 1.0049, 1.0049])[1]) == {None}
    assert judged([1.0, 1.0051, 1.0051])[1] == [None, None, "held"]
    assert judged([1.0, 1.2, 1.2, 1.2], margin=0.3)[1] == [None] * 4


def test_a_creeping_rise_is_measured_from_the_lowest() -> None:
    losses = [1.0 + 0.004 * epoch for epoch in range(5)]  # each step is within the margin, two are not
    states, done = judged(losses)
    assert done == [None, None, None, "held", None]
    assert states[-1].best == 1.0


def test_training_that_stops_falling_ends_the_row_but_not_the_hold() -> None:
    states, done = judged([0.8, 0.9, 0.9, 0.9, 0.9, 0.9], [0.5, 0.4, 0.4, 0.6, 0.4, 0.4])
    assert [state.rising for state in states] == [0, 1, 2, 0, 1, 2]
    assert done == [None, None, "held", None, None, "slowed"]
    assert [state.holding for state in states] == [False, False, True, True, True, True]
    assert states[-1].delay == 4


@pytest.mark.parametrize("bad", [NAN, INFINITY])
def test_losses_that_are_not_finite_judge_nothing(bad: float) -> None:
    before = judged([1.0, 0.8, 0.9])[0][-1]
    for validation, training in ((bad, 0.1), (0.9, bad)):
        assert ThawGuard(True).judge(before, validation, training, 1, True) == (before, None)
    held = judged([1.0, 0.8, 0.9, 0.9])[0][-1]
    after, reaction = ThawGuard(True).judge(held, bad, 0.1, 1, True)
    assert reaction is None and after == replace(held, delay=held.delay + 1)  # a hold is no thaw because of it


def test_before_the_first_thaw_there_is_only_the_hold() -> None:
    states, done = judged([1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.8], thawed=0)
    assert done == [None, None, None, "held", None, None, "recovered"]
    assert all(state.factors == [] for state in states) and states[-1].delay == 3


def test_after_the_last_thaw_there_is_only_the_rate() -> None:
    states, done = judged([1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.8], thawed=3, waiting=False)
    assert done == [None, None, None, "held", None, "slowed", "recovered"]
    assert states[-2].factors == [1.0, 1.0, 0.25] and {state.delay for state in states} == {0}
    assert [states[-2].factor(block) for block in (0, 1, 2, 3)] == [1.0, 1.0, 0.25, 1.0]


def test_each_newest_block_is_slowed_and_all_of_them_recover() -> None:
    first = judged([1.0, 0.8, 0.9, 0.9, 0.9, 0.9, 0.8])[0][-1]
    assert first.factors == [0.5]
    second, _ = judged([0.9, 0.9], [0.1, 0.1], thawed=2, start=first)
    assert [state.factors for state in second] == [[1.0], [1.0, 0.5]]


def test_nothing_to_thaw_or_switched_off_is_nothing_to_do() -> None:
    losses = [1.0, 0.8, 0.9, 0.9, 0.9]
    for states, done in (judged(losses, thawed=0, waiting=False), judged(losses, enabled=False)):
        assert set(done) == {None} and states[-1] == GuardState()


@given(
    st.lists(st.tuples(st.floats(0.1, 2.0) | st.just(NAN), st.floats(0.1, 2.0)), max_size=40),
    st.integers(1, 4),
    st.integers(0, 6),
    st.booleans(),
)
def test_what_holds_for_any_losses(losses: list[tuple[float, float]], patience: int, thawed: int, more: bool) -> None:
    states, done = judged(
        [each[0] for each in losses], [each[1] for each in losses], thawed, more, GuardState(), patience=patience
    )
    for before, after in pairwise([GuardState(), *states]):
        assert after.delay - before.delay in (0, 1)  # so the schedule's epoch never goes back: nothing freezes again
        assert after.best <= before.best
        assert all(factor in (0.125, 0.25, 0.5, 1.0) for factor in after.factors)
        assert len(after.factors) in (len(before.factors), thawed)
    assert done[:patience] == [None] * min(patience, len(done))


def test_the_state_is_saved_with_the_run() -> None:
    guard = judged([1.0, 0.8, 0.9, 0.9])[0][-1]
    state = TrainState(step=3, thawed_in=[0, 4], guard=guard)
    saved = state.to_dict()
    assert saved["guard"] == asdict(guard)
    assert TrainState.from_dict(saved) == state
    for name in ("guard", "thawed_in", "thaw_cap", "micro_batch"):
        del saved[name]
    assert TrainState.from_dict(saved) == TrainState(step=3)  # a checkpoint of before


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"patience": 0}, "reacts after 0 epochs"),
        ({"margin": -0.1}, "margin is -0.1"),
        ({"margin": NAN}, "margin is nan"),
        ({"floor": 0.0}, "lowest factor is 0.0"),
        ({"floor": 1.5}, "lowest factor is 1.5"),
    ],
)
def test_numbers_out_of_range_are_refused(numbers: dict[str, Any], message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        ThawGuard(**numbers)
