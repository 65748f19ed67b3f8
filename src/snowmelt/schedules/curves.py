"""A number that moves over the epochs of a run: the formulas that temperature and weights share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Literal, get_args

from snowmelt.errors import SnowmeltError

CurveKind = Literal["constant", "linear", "cosine", "exponential", "piecewise"]
CURVE_KINDS: tuple[str, ...] = get_args(CurveKind)


@dataclass(frozen=True)
class Curve:
    """A value v over the epochs of a run, from ``initial`` to ``final``.

    With progress p = epoch / (epochs - 1), and p = 1 in a run of one epoch:

    | kind | v |
    |---|---|
    | constant | v = initial |
    | linear | v = initial + (final - initial) p |
    | cosine | v = final + (initial - final) (1 + cos(pi p)) / 2 |
    | exponential | v = initial (final / initial)^p |
    | piecewise | linear between ``milestones`` (epoch -> v), constant outside |

    The two ends are returned, not computed, so v(0) and v(epochs - 1) are exact. ``piecewise`` reads its milestones
    alone; ``constant`` ignores ``final``. A subclass says what the number is and which values make sense.

    Raises:
        SnowmeltError: a kind that does not exist, milestones without ``piecewise`` or the other way round, or a
            value that makes no sense.
    """

    kind: CurveKind
    initial: float
    final: float
    milestones: Mapping[int, float] = field(default_factory=dict)

    quantity: ClassVar[str] = "value"
    example: ClassVar[str] = "{0: 1.0, 49: 0.5}"

    def __post_init__(self) -> None:
        if self.kind not in CURVE_KINDS:
            raise SnowmeltError(
                f"{self.quantity} kind {self.kind!r} does not exist; choose one of {', '.join(CURVE_KINDS)}",
                code="settings-value",
            )
        self.check(f"initial {self.quantity}", self.initial)
        self.check(f"final {self.quantity}", self.final)
        if self.kind == "piecewise" and not self.milestones:
            raise SnowmeltError(
                f"a piecewise {self.quantity} needs milestones, for example {self.example}", code="schedule-milestones"
            )
        if self.kind != "piecewise" and self.milestones:
            raise SnowmeltError(
                f"milestones belong to kind 'piecewise', not to {self.kind!r}; remove one of them",
                code="schedule-milestones",
            )
        for epoch, value in self.milestones.items():
            if epoch < 0:
                raise SnowmeltError(
                    f"milestone epoch {epoch} is negative; epochs count from 0", code="schedule-milestones"
                )
            self.check(f"{self.quantity} of milestone {epoch}", value)

    def check(self, what: str, value: float) -> None:
        """Raise ``SnowmeltError`` for a value that makes no sense."""
        if not math.isfinite(value):
            raise SnowmeltError(f"{what} is {value}; it must be finite", code="settings-value")

    @property
    def highest(self) -> float:
        """The highest value that the curve can take in any run: no formula leaves the span between its ends."""
        if self.kind == "piecewise":
            return max(self.milestones.values())
        return self.initial if self.kind == "constant" else max(self.initial, self.final)

    def at(self, epoch: int, epochs: int) -> float:
        """Value in ``epoch`` (from 0) of a run of ``epochs``.

        Raises:
            SnowmeltError: the epoch is outside 0 .. epochs - 1.
        """
        if not 0 <= epoch < epochs:
            raise SnowmeltError(f"epoch {epoch} is outside the run's 0..{epochs - 1}", code="argument-value")
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
        # In logarithms, because final / initial can underflow where no value in between does.
        return math.exp((1 - progress) * math.log(self.initial) + progress * math.log(self.final))


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
