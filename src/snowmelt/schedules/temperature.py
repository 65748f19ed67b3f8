"""The distillation temperature as a pure function of the epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from snowmelt.errors import SnowmeltError

TemperatureKind = Literal["constant", "linear", "cosine", "exponential", "piecewise"]
TEMPERATURE_KINDS: tuple[str, ...] = get_args(TemperatureKind)


@dataclass(frozen=True)
class TemperatureSchedule:
    """Temperature T over the epochs of a run, from soft (``initial``) to hard (``final``).

    With progress p = epoch / (epochs - 1), and p = 1 in a run of one epoch:

    ========== =============================================================
    constant   T = initial
    linear     T = initial + (final - initial) p
    cosine     T = final + (initial - final) (1 + cos(pi p)) / 2
    exponential T = initial (final / initial)^p
    piecewise  linear between ``milestones`` (epoch -> T), constant outside
    ========== =============================================================

    The two ends are returned, not computed, so T(0) and T(epochs - 1) are exact. ``piecewise`` reads its
    milestones alone; ``constant`` ignores ``final``.

    Raises:
        SnowmeltError: a kind that does not exist, or a temperature that is not positive and finite.
    """

    kind: TemperatureKind = "cosine"
    initial: float = 4.0
    final: float = 1.0
    milestones: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in TEMPERATURE_KINDS:
            raise SnowmeltError(
                f"temperature kind {self.kind!r} does not exist; choose one of {', '.join(TEMPERATURE_KINDS)}"
            )
        check_temperature("initial temperature", self.initial)
        check_temperature("final temperature", self.final)
        if self.kind == "piecewise" and not self.milestones:
            raise SnowmeltError("a piecewise temperature needs milestones, for example {0: 4.0, 49: 1.0}")
        if self.kind != "piecewise" and self.milestones:
            raise SnowmeltError(f"milestones belong to kind 'piecewise', not to {self.kind!r}; remove one of them")
        for epoch, value in self.milestones.items():
            if epoch < 0:
                raise SnowmeltError(f"milestone epoch {epoch} is negative; epochs count from 0")
            check_temperature(f"temperature of milestone {epoch}", value)

    def at(self, epoch: int, epochs: int) -> float:
        """Temperature in ``epoch`` (from 0) of a run of ``epochs``.

        Raises:
            SnowmeltError: the epoch is outside 0 .. epochs - 1.
        """
        if not 0 <= epoch < epochs:
            raise SnowmeltError(f"epoch {epoch} is outside the run's 0..{epochs - 1}")
        if self.kind == "constant":
            return self.initial
        if self.kind == "piecewise":
            return interpolate(self.milestones, epoch)
        if epoch == epochs - 1:
            return self.final
        if epoch == 0:
            return self.initial
        progress = epoch / (epochs - 1)
        if self.kind == "linear":
            return self.initial + (self.final - self.initial) * progress
        if self.kind == "cosine":
            return self.final + (self.initial - self.final) * (1 + math.cos(math.pi * progress)) / 2
        # In logarithms, because final / initial can underflow where no temperature in between does.
        return math.exp((1 - progress) * math.log(self.initial) + progress * math.log(self.final))


def check_temperature(what: str, value: float) -> None:
    """Refuse what is not a positive, finite number: the softened logits would be infinite or turned around."""
    if not (math.isfinite(value) and value > 0):
        raise SnowmeltError(f"{what} is {value}; a temperature must be positive and finite")


def interpolate(milestones: Mapping[int, float], epoch: int) -> float:
    """Value at ``epoch``, linear between the milestones around it and constant outside them."""
    points = sorted(milestones.items())
    if epoch <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if epoch <= right:
            share = (epoch - left) / (right - left)
            return low * (1 - share) + high * share
    return points[-1][1]
