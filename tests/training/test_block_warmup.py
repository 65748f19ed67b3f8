"""The rate of a block that has just thawed rises on a straight line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_runs import start_run

from snowmelt.errors import SnowmeltError
from snowmelt.training import BlockWarmup, TrainState


def test_its_values() -> None:
    warmup = BlockWarmup(2.0)
    positions = (10.0, 10.5, 11.0, 11.5, 12.0, 49.0)
    assert [warmup.factor(position, 10) for position in positions] == pytest.approx([0.05, 0.2875, 0.525, 0.7625, 1, 1])
    assert warmup.factor(10.0, 10) == 0.05 and warmup.factor(12.0, 10) == 1.0
    assert BlockWarmup(0.5).factor(10.25, 10) == pytest.approx(0.525)


def test_a_block_that_learns_from_the_first_epoch_has_none() -> None:
    assert [BlockWarmup(2.0).factor(position, 0) for position in (0.0, 0.5, 1.0, 3.0)] == [1.0] * 4


def test_without_it_every_factor_is_one() -> None:
    assert [BlockWarmup().factor(position, 10) for position in (10.0, 10.1, 11.0)] == [1.0] * 3


@pytest.mark.parametrize("epochs", [-1.0, math.nan, math.inf])
def test_a_length_that_cannot_be_is_refused(epochs: float) -> None:
    with pytest.raises(SnowmeltError, match="a block warms up over"):
        BlockWarmup(epochs)


def test_only_the_new_block_s_rate_is_changed(tmp_path: Path) -> None:
    with_it, without = start_run(tmp_path, reactions={"block_warmup": 1.0}), start_run(tmp_path)
    blocks = with_it.schedules.blocks
    state = TrainState(epoch=3, thawed_in=[1, 3])
    for position in (3.0, 3.25, 3.5, 4.0):
        warm, plain = with_it.rates_at(state, position), without.rates_at(state, position)
        assert plain == without.schedules.learning_rates_at(position)
        assert {name for name in plain if warm[name] != plain[name]} == ({blocks[1]} if position < 4 else set())
        assert warm[blocks[1]] == pytest.approx(plain[blocks[1]] * min(1.0, 0.05 + 0.95 * (position - 3)))


def test_both_factors_multiply(tmp_path: Path) -> None:
    run, state = start_run(tmp_path, reactions={"block_warmup": 1.0}), TrainState(epoch=3, thawed_in=[1, 3])
    state.guard.factors = [1.0, 0.5]
    plain = run.schedules.learning_rates_at(3.5)
    assert run.rates_at(state, 3.5)[run.schedules.blocks[1]] == plain[run.schedules.blocks[1]] * 0.5 * 0.525
