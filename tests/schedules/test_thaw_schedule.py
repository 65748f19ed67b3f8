"""Thawed blocks, epoch by epoch, against the published table and the formula's consequences."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.schedules import ThawSchedule

REFERENCE = [
    *[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],  # 0-9: the decoder learns alone
    *[1, 1, 1, 1, 1, 2, 2, 2, 2, 2],  # 10-19
    *[3, 3, 3, 3, 3, 4, 4, 4, 4, 4],  # 20-29
    *[5, 5, 5, 5, 5, 6, 6, 6, 6, 6],  # 30-39
    *[7, 7, 7, 7, 7, 7, 7, 7, 7, 7],  # 40-49: everything
]

schedules = st.builds(
    ThawSchedule,
    start=st.integers(0, 40),
    every=st.integers(1, 12),
    most=st.none() | st.integers(0, 10),
    progressive=st.booleans(),
)


def test_fifty_epochs_of_the_reference_experiment() -> None:
    schedule = ThawSchedule(start=10, every=5, lr_scale=0.1)
    assert [schedule.blocks_at(epoch, blocks=7) for epoch in range(50)] == REFERENCE
    assert ThawSchedule() == schedule


def test_fifty_epochs_of_the_second_published_example() -> None:
    schedule = ThawSchedule(start=15, every=3, lr_scale=0.05)
    rising = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6]
    expected = [0] * 15 + rising + [7] * 17
    assert [schedule.blocks_at(epoch, blocks=7) for epoch in range(50)] == expected


def test_a_whole_encoder_takes_as_long_as_it_has_blocks() -> None:
    schedule = ThawSchedule(start=2, every=3)
    assert [schedule.blocks_at(epoch, blocks=4) for epoch in range(14)] == [0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert schedule.blocks_at(epoch=20, blocks=0) == 0


def test_start_zero_thaws_the_deepest_block_at_once() -> None:
    assert [ThawSchedule(start=0, every=1).blocks_at(epoch, 3) for epoch in range(5)] == [1, 2, 3, 3, 3]


def test_not_progressive_means_that_the_whole_encoder_learns_from_the_first_epoch() -> None:
    schedule = ThawSchedule(start=10, every=5, lr_scale=0.1, progressive=False)
    assert [schedule.blocks_at(epoch, 7) for epoch in range(50)] == [7] * 50
    assert schedule.lr_scale == 0.1
    assert ThawSchedule(progressive=False, most=2).blocks_at(0, 7) == 2


@pytest.mark.parametrize(("most", "expected"), [(0, 0), (2, 2), (7, 7), (9, 7), (None, 7)])
def test_most_caps_what_ever_thaws(most: int | None, expected: int) -> None:
    schedule = ThawSchedule(start=1, every=1, most=most)
    assert [schedule.blocks_at(epoch, 7) for epoch in range(20)] == [min(epoch, expected) for epoch in range(20)]


@given(schedules, st.integers(0, 12))
def test_blocks_never_freeze_again_and_never_exceed_the_encoder(schedule: ThawSchedule, blocks: int) -> None:
    column = [schedule.blocks_at(epoch, blocks) for epoch in range(200)]
    assert column == sorted(column)
    limit = blocks if schedule.most is None else min(blocks, schedule.most)
    assert all(0 <= value <= limit for value in column)
    assert column[-1] == limit  # the last one thaws at the latest in epoch 40 + 11 * 12


@given(st.integers(0, 40), st.integers(1, 12), st.integers(1, 12))
def test_each_block_thaws_in_an_epoch_of_its_own(start: int, every: int, blocks: int) -> None:
    schedule = ThawSchedule(start=start, every=every)
    column = [0, *(schedule.blocks_at(epoch, blocks) for epoch in range(200))]
    thaws = [epoch for epoch in range(200) if column[epoch + 1] > column[epoch]]
    assert thaws == [start + every * block for block in range(blocks)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"start": -1}, "first thaw epoch is -1"),
        ({"every": 0}, "epochs per block is 0"),
        ({"every": -5}, "epochs per block is -5"),
        ({"lr_scale": 0.0}, "scale is 0.0"),
        ({"lr_scale": -0.1}, "scale is -0.1"),
        ({"lr_scale": math.nan}, "scale is nan"),
        ({"lr_scale": math.inf}, "scale is inf"),
        ({"most": -1}, "most blocks to thaw is -1"),
    ],
)
def test_a_value_outside_its_range_is_refused_by_name(values: dict[str, float], message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        ThawSchedule(**values)


@pytest.mark.parametrize(("epoch", "blocks"), [(-1, 7), (0, -1)])
def test_a_negative_epoch_or_block_count_is_refused(epoch: int, blocks: int) -> None:
    with pytest.raises(SnowmeltError, match="must be 0 or more"):
        ThawSchedule().blocks_at(epoch, blocks)
