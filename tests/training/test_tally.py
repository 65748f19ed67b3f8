"""Sums over an epoch, and that a cut in its middle changes no bit of them."""

from __future__ import annotations

import math

import pytest
import torch

from snowmelt.training import Engine, TrainState
from snowmelt.training.causes import FINE, GRADIENT, LOSS, OVERFLOW
from snowmelt.training.tally import Tally, mean_terms


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine("cpu", "32")


def values(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand((), generator=generator) for name in ("kl", "dice", "total")}


def test_a_cut_at_any_step_changes_no_bit(engine: Engine) -> None:
    good = torch.tensor(FINE)
    for cut in range(1, 30):
        whole, state = TrainState(), TrainState()
        tally = Tally(engine, whole)
        other = Tally(engine, state)
        for step in range(30):
            tally.add(values(step), good)
            if step == cut:
                other.store(state)
                state = TrainState.from_dict(state.to_dict())
                other = Tally(engine, state)
            other.add(values(step), good)
        tally.store(whole)
        other.store(state)
        assert whole.sums == state.sums


def test_bad_steps_are_left_out_and_counted(engine: Engine) -> None:
    state = TrainState(step_in_epoch=4)
    tally = Tally(engine, state)
    for step, finite in enumerate([True, False, False, True]):
        terms = values(step) if finite else dict.fromkeys(("kl", "dice", "total"), torch.tensor(float("nan")))
        tally.add(terms, torch.tensor(FINE if finite else LOSS))
        tally.store(state)
        assert state.skipped_in_a_row == [0, 1, 2, 0][step]
    assert state.skipped == 2
    expected = (values(0)["kl"].double() + values(3)["kl"].double()).item() / 2
    assert mean_terms(state)["kl"] == expected


def test_overflows_that_the_loss_scale_answers_are_counted_and_belong_to_no_row(engine: Engine) -> None:
    state = TrainState(step_in_epoch=6)
    tally = Tally(engine, state)
    for cause in (OVERFLOW, GRADIENT, OVERFLOW, GRADIENT, OVERFLOW):
        tally.add(values(0), torch.tensor(cause))
    tally.store(state)
    assert (state.skipped, state.skipped_in_a_row) == (5, 2)
    tally.add(values(0), torch.tensor(FINE))
    tally.store(state)
    assert (state.skipped, state.skipped_in_a_row) == (5, 0)


def test_an_epoch_without_a_good_step_has_no_mean(engine: Engine) -> None:
    state = TrainState(step_in_epoch=1)
    tally = Tally(engine, state)
    tally.add(values(0), torch.tensor(LOSS))
    tally.store(state)
    assert all(math.isnan(value) for value in mean_terms(state).values())


def test_a_long_epoch_loses_no_digits(engine: Engine) -> None:
    state, steps = TrainState(step_in_epoch=20_000), 20_000
    tally = Tally(engine, state)
    term, good = {"total": torch.tensor(0.1)}, torch.tensor(FINE)
    for _ in range(steps):
        tally.add(term, good)
    tally.store(state)
    assert mean_terms(state)["total"] == pytest.approx(term["total"].double().item(), rel=1e-12)


def test_another_number_of_processes_goes_on_with_the_same_sum(engine: Engine) -> None:
    state = TrainState(step_in_epoch=2, sums={"total": [0.25, 0.5]})
    Tally(engine, state).store(state)
    assert state.sums == {"total": [0.75]}
