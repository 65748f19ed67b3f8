"""Student's t against closed forms, and the sum of two against a simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest

from snowmelt.study.students_t import sum_half_width, t_distribution, t_quantile

# From printed tables of the two-sided 5 % point.
TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 9: 2.2622, 29: 2.0452, 120: 1.9799}


@pytest.mark.parametrize(("freedom", "expected"), TABLE.items())
def test_quantiles_are_those_of_the_tables(freedom: int, expected: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("share", [0.0005, 0.2, 0.5, 0.9, 0.975, 0.99995])
def test_one_and_two_degrees_have_closed_forms(share: float) -> None:
    assert t_quantile(share, 1) == pytest.approx(math.tan(math.pi * (share - 0.5)), rel=1e-9, abs=1e-12)
    two = (2 * share - 1) / math.sqrt(2 * share * (1 - share))
    assert t_quantile(share, 2) == pytest.approx(two, rel=1e-9, abs=1e-12)
    assert t_quantile(share, 1e7) == pytest.approx(NormalDist().inv_cdf(share), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 1.5, 2, 7.3, 199, 4999])
def test_distribution_and_quantile_undo_each_other(freedom: float) -> None:
    shares = [0.003, 0.31, 0.75, 0.999]
    values = np.array([t_quantile(share, freedom) for share in shares])
    np.testing.assert_allclose(t_distribution(values, freedom), shares, atol=1e-9)
    np.testing.assert_allclose(t_distribution(-values, freedom), 1 - np.array(shares), atol=1e-9)


def test_nothing_lies_beyond_infinity() -> None:
    np.testing.assert_allclose(t_distribution(np.array([-np.inf, 0, np.inf]), 3.0), [0, 0.5, 1], atol=1e-12)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.9875])
def test_two_of_cauchys_are_one(level: float) -> None:
    assert sum_half_width(level, [(2.0, 1), (3.0, 1)]) == pytest.approx(5 * t_quantile((1 + level) / 2, 1), rel=2e-3)


def test_one_part_alone_is_students_t() -> None:
    expected = 0.3 * t_quantile(0.975, 4)
    assert sum_half_width(0.95, [(0.3, 4)]) == expected
    assert sum_half_width(0.95, [(0.0, 1), (0.3, 4)]) == expected
    assert sum_half_width(0.95, [(1e-9, 2), (0.3, 4)]) == pytest.approx(expected, rel=1e-6)
    assert sum_half_width(0.95, [(0.0, 1), (0.0, 4)]) == 0
    assert sum_half_width(0.95, []) == 0


def test_large_degrees_add_up_as_normals_do() -> None:
    assert sum_half_width(0.95, [(3.0, 1e7), (4.0, 1e7)]) == pytest.approx(5 * NormalDist().inv_cdf(0.975), rel=1e-5)


@pytest.mark.parametrize("parts", [[(1.0, 1), (0.4, 60)], [(0.3, 2), (1.0, 12.5)], [(1.0, 4), (1.0, 199)]])
def test_the_sum_covers_what_draws_of_it_show(parts: list[tuple[float, float]]) -> None:
    generator = np.random.default_rng(1)
    total = sum(error * generator.standard_t(freedom, 400_000) for error, freedom in parts)
    assert float(np.mean(np.abs(total) <= sum_half_width(0.95, parts))) == pytest.approx(0.95, abs=0.0015)
    assert sum_half_width(0.95, parts) == sum_half_width(0.95, parts[::-1])
