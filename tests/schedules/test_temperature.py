"""Temperatures against closed forms, the published column and properties that hold for any settings."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.schedules import TEMPERATURE_KINDS, TemperatureSchedule

PUBLISHED = {0: 4.0, 10: 3.5, 15: 3.0, 20: 2.5, 25: 2.0, 30: 1.5, 35: 1.3, 40: 1.1, 49: 1.0}
FORMULAS = ("linear", "cosine", "exponential")
EPOCHS = 50

temperatures = st.floats(0.05, 50.0)


def closed_form(kind: str, initial: float, final: float, progress: float) -> float:
    """The three formulas of the design, written once more in other words."""
    if kind == "linear":
        return (1 - progress) * initial + progress * final
    if kind == "cosine":
        return (initial + final) / 2 + (initial - final) / 2 * math.cos(math.pi * progress)
    return math.exp((1 - progress) * math.log(initial) + progress * math.log(final))


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize(("initial", "final"), [(4.0, 1.0), (5.0, 0.5), (1.0, 3.0), (0.1, 0.7)])
@pytest.mark.parametrize("epochs", [2, 3, 50])
def test_every_epoch_follows_the_closed_form(kind: str, initial: float, final: float, epochs: int) -> None:
    schedule = TemperatureSchedule(kind=kind, initial=initial, final=final)
    column = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    expected = [closed_form(kind, initial, final, epoch / (epochs - 1)) for epoch in range(epochs)]
    assert column == pytest.approx(expected, rel=1e-12)
    assert column[0] == initial  # the ends exactly, not approximately
    assert column[-1] == final


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("linear", {0: 4.0, 10: 3.3877551020, 30: 2.1632653061, 40: 1.5510204082, 49: 1.0}),
        ("cosine", {0: 4.0, 10: 3.7021204328, 30: 1.9819524184, 40: 1.2428678427, 49: 1.0}),
        ("exponential", {0: 4.0, 10: 3.0143286776, 30: 1.7117953148, 40: 1.2899784269, 49: 1.0}),
    ],
)
def test_golden_values_of_fifty_epochs(kind: str, expected: dict[int, float]) -> None:
    schedule = TemperatureSchedule(kind=kind)
    assert {epoch: schedule.at(epoch, EPOCHS) for epoch in expected} == pytest.approx(expected, abs=1e-9)


def test_the_reference_is_a_cosine_from_four_to_one() -> None:
    assert TemperatureSchedule() == TemperatureSchedule(kind="cosine", initial=4.0, final=1.0)
    assert TemperatureSchedule().at(epoch=30, epochs=50) == pytest.approx(1.98, abs=0.005)  # and not 1.5


@pytest.mark.parametrize("kind", FORMULAS)
def test_a_run_of_one_epoch_is_already_at_its_end(kind: str) -> None:
    assert TemperatureSchedule(kind=kind, initial=4.0, final=1.3).at(0, 1) == 1.3


def test_constant_never_moves() -> None:
    schedule = TemperatureSchedule(kind="constant", initial=2.5, final=1.0)
    assert {schedule.at(epoch, EPOCHS) for epoch in range(EPOCHS)} == {2.5}
    assert schedule.at(0, 1) == 2.5


def test_piecewise_reproduces_the_published_column() -> None:
    schedule = TemperatureSchedule(kind="piecewise", milestones=PUBLISHED)
    assert {epoch: schedule.at(epoch, EPOCHS) for epoch in PUBLISHED} == PUBLISHED


def test_piecewise_is_linear_between_milestones_and_constant_outside() -> None:
    schedule = TemperatureSchedule(kind="piecewise", milestones={12: 1.0, 2: 4.0, 7: 2.0})  # in any order
    column = [schedule.at(epoch, 15) for epoch in range(15)]
    falling = [4.0, 3.6, 3.2, 2.8, 2.4, 2.0, 1.8, 1.6, 1.4, 1.2, 1.0]
    assert column == pytest.approx([4.0, 4.0, *falling, 1.0, 1.0], abs=1e-12)
    # Milestones are epochs, not shares of the run: another length cuts the column or prolongs it.
    assert [schedule.at(epoch, 9) for epoch in range(9)] == column[:9]
    assert schedule.at(99, 100) == 1.0


def test_one_milestone_is_a_constant() -> None:
    schedule = TemperatureSchedule(kind="piecewise", milestones={5: 3.0})
    assert {schedule.at(epoch, 10) for epoch in range(10)} == {3.0}


@given(st.sampled_from(FORMULAS), temperatures, temperatures, st.integers(1, 300))
def test_a_formula_is_monotone_and_stays_between_its_ends(kind: str, initial: float, final: float, epochs: int) -> None:
    schedule = TemperatureSchedule(kind=kind, initial=initial, final=final)
    column = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    tolerance = 1e-12 * max(initial, final)
    low, high = min(initial, final), max(initial, final)
    assert all(low - tolerance <= value <= high + tolerance for value in column)
    sign = 1 if final >= initial else -1
    assert all(sign * (after - before) >= -tolerance for before, after in pairwise(column))
    assert column[-1] == final


@given(st.dictionaries(st.integers(0, 60), temperatures, min_size=1, max_size=8), st.integers(1, 80))
def test_piecewise_stays_within_its_milestones_and_meets_each(milestones: dict[int, float], epochs: int) -> None:
    schedule = TemperatureSchedule(kind="piecewise", milestones=milestones)
    column = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    low, high = min(milestones.values()), max(milestones.values())
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in column)
    assert all(column[epoch] == value for epoch, value in milestones.items() if epoch < epochs)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("end", ["initial", "final"])
def test_a_temperature_must_be_positive_and_finite(end: str, value: float) -> None:
    with pytest.raises(SnowmeltError, match=f"{end} temperature is .*positive and finite"):
        TemperatureSchedule(**{end: value})


@pytest.mark.parametrize("value", [0.0, -2.0, math.nan, math.inf])
def test_a_milestone_must_be_positive_and_finite(value: float) -> None:
    with pytest.raises(SnowmeltError, match="milestone 3 is"):
        TemperatureSchedule(kind="piecewise", milestones={0: 4.0, 3: value})


def test_an_unknown_kind_is_refused_with_the_choices() -> None:
    with pytest.raises(SnowmeltError, match="'cosinus' does not exist") as caught:
        TemperatureSchedule(kind="cosinus")  # type: ignore[arg-type]
    assert all(kind in str(caught.value) for kind in TEMPERATURE_KINDS)


def test_milestones_and_piecewise_belong_together() -> None:
    with pytest.raises(SnowmeltError, match="needs milestones"):
        TemperatureSchedule(kind="piecewise")
    with pytest.raises(SnowmeltError, match="belong to kind 'piecewise'"):
        TemperatureSchedule(kind="linear", milestones={0: 4.0})
    with pytest.raises(SnowmeltError, match="milestone epoch -1 is negative"):
        TemperatureSchedule(kind="piecewise", milestones={-1: 4.0})


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "exponential", "piecewise"])
@pytest.mark.parametrize(("epoch", "epochs"), [(-1, 50), (50, 50), (0, 0)])
def test_an_epoch_outside_the_run_is_refused(kind: str, epoch: int, epochs: int) -> None:
    schedule = TemperatureSchedule(kind=kind, milestones={0: 4.0} if kind == "piecewise" else {})
    with pytest.raises(SnowmeltError, match="outside the run"):
        schedule.at(epoch, epochs)
