"""Which stages are tried, and what follows, for needs that follow a formula."""

from __future__ import annotations

import math

import pytest

from snowmelt.training.memory import MIB
from snowmelt.training.memory_guard import Survey, describe, survey_stages, ways_out

STAGES = {0: 0, 1: 10, 2: 15, 3: 20}


class Formula:
    """100 MiB, and (2 + thawed) x 10 MiB an image; infinite from ``never`` on. Keeps what was asked."""

    def __init__(self, never: float = math.inf, falls: bool = True) -> None:
        self.asked: list[tuple[int, int]] = []
        self._never = never * MIB
        self._falls = falls
        self._peak = 0.0

    def __call__(self, thawed: int, images: int) -> float:
        self.asked.append((thawed, images))
        need = (100 + images * (2 + thawed) * 10) * MIB
        self._peak = max(self._peak, need)
        need = need if self._falls else self._peak
        return math.inf if need > self._never else need


def survey(limit: float, formula: Formula, split: bool, falls: bool = True) -> Survey:
    return survey_stages(STAGES, 8, limit * MIB, formula, split, falls)


@pytest.mark.parametrize("split", [True, False])
def test_all_fit(split: bool) -> None:
    formula = Formula()
    found = survey(500, formula, split)
    assert formula.asked == [(0, 8), (1, 8), (2, 8), (3, 8)]  # the last needs 500 exactly
    assert (found.too_large, found.micro_batch, found.most_blocks) == (None, 8, 3)


def test_the_micro_batch_is_halved_where_it_has_to_be_and_stays() -> None:
    formula = Formula()
    found = survey(250, formula, split=True)
    # 8 images: 260 at stage 0. 4: 180, 220, 260. 2: 180 and 200.
    assert formula.asked == [(0, 8), (0, 4), (1, 4), (2, 4), (2, 2), (3, 2)]
    assert found.too_large is not None
    assert (found.too_large.thawed, found.too_large.micro_batch) == (0, 8)
    assert (found.micro_batch, found.most_blocks) == (2, None)


def test_no_stage_is_tried_that_a_smaller_one_has_ruled_out() -> None:
    formula = Formula()
    found = survey(340, formula, split=False)
    assert formula.asked == [(0, 8), (1, 8), (2, 8)]
    assert found.too_large is not None and found.too_large.first_epoch == 15
    assert (found.micro_batch, found.most_blocks) == (None, 1)


def test_what_fits_whole_is_known_although_it_was_split_later() -> None:
    found = survey(340, Formula(), split=True)
    assert (found.micro_batch, found.most_blocks) == (4, 1)


def test_not_even_one_image() -> None:
    formula = Formula(never=125)
    found = survey(1000, formula, split=True)  # the limit is no help where the memory is not there
    assert formula.asked == [(0, 8), (0, 4), (0, 2), (0, 1), (1, 1)]
    assert found.micro_batch is None
    assert "more than there is" in describe(found)


@pytest.mark.parametrize(
    ("limit", "images", "asked"), [(500, 8, [1, 2, 4, 8]), (320, 4, [1, 2, 4, 8]), (120, None, [1])]
)
def test_where_a_peak_cannot_be_forgotten_micro_batches_rise(
    limit: float, images: int | None, asked: list[int]
) -> None:
    formula = Formula(falls=False)
    found = survey(limit, formula, split=True, falls=False)
    assert formula.asked == [(3, size) for size in asked]
    assert found.micro_batch == images
    assert (found.too_large is None) == (limit == 500)


def test_the_table() -> None:
    lines = describe(survey(340, Formula(), split=True)).splitlines()
    assert lines[0] == "memory of a step by stage; there are 340 MiB"
    assert [line.split() for line in lines[2:]] == [
        ["0", "0", "8", "260"],
        ["1", "10", "8", "340"],
        ["2", "15", "8", "420"],
        ["2", "15", "4", "260"],
        ["3", "20", "4", "300"],
    ]


def test_ways_out_are_what_was_seen_to_fit() -> None:
    found = survey(340, Formula(), split=True)  # 8 images: up to one block. 4: all of them
    smaller = "--set training.batch_size=4 --set training.accumulate=4"
    assert ways_out(found, 16, under_way=False) == (
        f"what fits: {smaller}, or --set reactions.memory=split, or --set thaw.most=1"
    )
    odd = ways_out(found, 6, under_way=False)  # six images do not come in fours
    assert odd.startswith("what fits: --set training.batch_size=4, or")


def test_a_run_under_way_is_offered_only_what_a_resume_takes() -> None:
    found = survey(340, Formula(), split=True)
    assert ways_out(found, 16, True) == "what fits: --set reactions.memory=split, or --set reactions.memory=delay"
    assert "begin another run with a smaller data.image_size" in ways_out(survey(100, Formula(), True), 16, True)


def test_where_no_micro_batch_fits_every_stage_fewer_blocks_may() -> None:
    found = survey(135, Formula(), split=True)  # 1 image: 120, 130, 140 and 150; 8 images: 260
    assert (found.micro_batch, found.most_blocks) == (None, None)
    way = "--set training.batch_size=1 --set training.accumulate=16 --set thaw.most=1"
    assert ways_out(found, 16, under_way=False) == f"no micro-batch fits every stage; use {way}"
