"""Student's t for any degrees of freedom from 1 up, and the sum of two of them. No tables, no SciPy.

With t = sqrt(n) tan(a), the density of t with n degrees of freedom becomes proportional to cos(a)^(n - 1) on
(-pi/2, pi/2): bounded, so that a fixed rule of Gauss and Legendre integrates it to about ten digits.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

NODES, WEIGHTS = np.polynomial.legendre.leggauss(96)
HALVINGS = 55
ROUGH_HALVINGS = 32  # ten digits, more than an interval has
FAR = 10  # standard deviations


def t_distribution(value: np.ndarray | float, freedom: float) -> np.ndarray:
    """P(T <= value) for Student's t, elementwise.

    Args:
        value: any shape, infinities included.
        freedom: degrees of freedom, at least 1.
    """
    angle = np.arctan(np.asarray(value, dtype=np.float64) / math.sqrt(freedom))
    # cos(a) <= exp(-a^2 / 2): past this angle there is less than exp(-48), and the nodes would miss the peak.
    angle = np.clip(angle, -FAR / math.sqrt(freedom), FAR / math.sqrt(freedom))
    inner = np.cos(angle[..., None] * (NODES + 1) / 2) ** (freedom - 1)
    return 0.5 + angle / 2 * (inner @ WEIGHTS) / _whole(freedom)


def t_quantile(share: float, freedom: float) -> float:
    """The value below which ``share`` of Student's t lies, 0 < share < 1."""
    if share < 0.5:
        return -t_quantile(1 - share, freedom)
    # In the angle, since it is bounded: with one degree of freedom quantiles grow like 1 / (1 - share).
    low, high = 0.0, math.pi / 2
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = t_distribution(math.sqrt(freedom) * math.tan(middle), freedom) < share
        low, high = (middle, high) if below else (low, middle)
    return math.sqrt(freedom) * math.tan((low + high) / 2)


def sum_half_width(level: float, parts: list[tuple[float, float]]) -> float:
    """The q with P(|s1 T1 + s2 T2| <= q) = level, for independent T of n1 and n2 degrees of freedom.

    This is the half-width of the interval of Behrens and Fisher, for an estimate whose variance is a sum of two that
    were estimated apart. It covers at least its level in every case that has been examined, also with one or two
    degrees of freedom, where Welch's and Satterthwaite's approximation falls short (G. K. Robinson, "Properties of
    Student's t and of the Behrens-Fisher solution to the two means problem", Annals of Statistics 4, 1976).

    Args:
        level: between 0 and 1.
        parts: one or two pairs of standard error s and degrees of freedom n.
    """
    parts = sorted(part for part in parts if part[0] > 0)
    if not parts:
        return 0.0
    if len(parts) == 1:
        return parts[0][0] * t_quantile((1 + level) / 2, parts[0][1])
    (small, freedom), (large, other) = parts
    low, high = 0.0, 2 * sum(error * t_quantile((1 + level) / 2, n) for error, n in parts)
    for _ in range(ROUGH_HALVINGS):
        middle = (low + high) / 2
        below = _sum_distribution(middle / small, freedom, large / small, other) < (1 + level) / 2
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def _sum_distribution(value: float, freedom: float, scale: float, other: float) -> float:
    """P(T1 + scale T2 <= value) with scale >= 1 and value >= 0.

    Integrated over T1, the smaller part, so that the other's distribution is smooth at this scale, and in pieces that
    end where that distribution turns, since with one degree of freedom this is close to an end.
    """
    end = min(math.pi / 2, FAR / math.sqrt(freedom))
    turn = min(math.atan(value / math.sqrt(freedom)), end)
    total = 0.0
    for left, right in pairwise([-end, -turn, turn, end]):
        angles = left + (right - left) * (NODES + 1) / 2
        chance = np.cos(angles) ** (freedom - 1)
        below = t_distribution((value - math.sqrt(freedom) * np.tan(angles)) / scale, other)
        total += (right - left) / 2 * float((chance * below) @ WEIGHTS)
    return total / _whole(freedom)


def _whole(freedom: float) -> float:
    """Integral of cos(a)^(freedom - 1) over (-pi/2, pi/2)."""
    return math.sqrt(math.pi) * math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2))
