"""How much it would take: seeds or images to see a difference, and how far two spreads must lie apart."""

from __future__ import annotations

import math

from snowmelt.study.statistics import Difference
from snowmelt.study.students_t import sum_half_width, t_quantile

POWER = 0.8  # share of the comparisons that would see it
NORMAL = 1e6  # degrees of freedom at which Student's t is normal for every purpose here
MOST_SEEDS = 1000


def seeds_needed(difference: Difference) -> int | None:
    """Seeds with which a true difference of this size would be seen four times in five, on the same images.

    ``None`` where no number would do, because the images alone leave too much open (or more than 1000 would).
    """
    size, seeds = abs(difference.estimate), difference.seeds
    one = difference.seed_se * math.sqrt(seeds)

    def shows(number: int) -> bool:
        parts = [(one / math.sqrt(number), number - 1.0), (difference.image_se, NORMAL)]
        margin = t_quantile(POWER, NORMAL) * math.hypot(parts[0][0], parts[1][0])
        return sum_half_width(difference.level, parts) + margin <= size

    low, high = 1, MOST_SEEDS
    if not shows(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shows(middle) else (middle, high)
    return high


def images_needed(difference: Difference) -> int:
    """Images with which a true difference of this size would be seen four times in five, if seeds were no limit."""
    standard_errors = t_quantile((1 + difference.level) / 2, NORMAL) + t_quantile(POWER, NORMAL)
    return math.ceil(difference.images * (standard_errors * difference.image_se / difference.estimate) ** 2)


def ratio_needed(seeds: int, level: float = 0.95) -> float:
    """Ratio of two standard deviations, of ``seeds`` runs each, past which they differ by more than chance.

    The square root r of an F with n and n degrees of freedom obeys (r - 1 / r) sqrt(n) / 2 = t with n degrees of
    freedom, so that no quantile of F is needed. Both arms' scores count as independent and normal.
    """
    freedom = seeds - 1
    half = t_quantile((1 + level) / 2, freedom) / math.sqrt(freedom)
    return half + math.sqrt(half**2 + 1)
