"""What it takes to see a difference: against simulation, known quantiles and each other."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from snowmelt.study import Difference
from snowmelt.study.power import images_needed, ratio_needed, seeds_needed
from snowmelt.study.students_t import t_quantile

MADE = Difference(
    estimate=0.01, low=-0.02, high=0.04, level=0.95, seeds=3, images=200, seed_se=0.01, image_se=0.001, relative=0.02
)


def test_the_number_of_seeds_shows_the_difference_four_times_in_five() -> None:
    number = seeds_needed(replace(MADE, image_se=0.0))
    assert number is not None
    found = np.random.default_rng(0).normal(0.01, MADE.seed_se * math.sqrt(3), (20_000, number))
    errors = found.std(1, ddof=1) / math.sqrt(number)
    seen = np.abs(found.mean(1)) > t_quantile(0.975, number - 1) * errors
    assert float(seen.mean()) == pytest.approx(0.8, abs=0.03)


def test_seeds_are_as_the_square_of_what_is_looked_for() -> None:
    number, half = seeds_needed(MADE), seeds_needed(replace(MADE, estimate=-0.005, image_se=0.0))
    assert number is not None and half is not None
    assert 3 < number < half
    assert half == pytest.approx(4 * number, rel=0.15)


def test_images_can_be_the_limit() -> None:
    blurred = replace(MADE, image_se=0.005)  # 2.8 standard errors are more than the difference
    assert seeds_needed(blurred) is None
    images = images_needed(blurred)
    assert images == math.ceil(200 * (2.8016 * 0.005 / 0.01) ** 2)
    assert seeds_needed(replace(blurred, images=2 * images, image_se=0.005 * math.sqrt(200 / images / 2))) is not None


def test_too_many_seeds_are_none() -> None:
    assert seeds_needed(replace(MADE, estimate=1e-4)) is None


# Square roots of the 97.5 % points of F(n, n), from printed tables: 39.00, 9.605, 4.026.
@pytest.mark.parametrize(("seeds", "squared"), [(3, 39.00), (5, 9.605), (10, 4.026)])
def test_ratios_are_those_of_the_tables_of_f(seeds: int, squared: float) -> None:
    assert ratio_needed(seeds) ** 2 == pytest.approx(squared, rel=1e-3)
