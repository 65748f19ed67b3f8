"""The weight of a loss as a pure function of the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from snowmelt.errors import SnowmeltError
from snowmelt.schedules.curves import CURVE_KINDS, Curve, CurveKind

WeightKind = CurveKind
WEIGHT_KINDS = CURVE_KINDS


@dataclass(frozen=True)
class WeightSchedule(Curve):
    """Weight of a loss over the epochs of a run; see ``Curve`` for the kinds.

    Raises:
        SnowmeltError: a kind that does not exist, a weight that is negative or not finite, or an exponential one
            that starts or ends at 0, which it can never leave or reach.
    """

    kind: WeightKind = "linear"
    initial: float = 1.0
    final: float = 1.0

    quantity: ClassVar[str] = "weight"
    example: ClassVar[str] = "{0: 1.0, 49: 0.0}"

    def check(self, what: str, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise SnowmeltError(f"{what} is {value}; a weight must be finite and not negative", code="settings-value")
        if self.kind == "exponential" and value == 0:
            raise SnowmeltError(
                f"{what} is 0; an exponential weight must be positive, or take kind 'linear'", code="settings-value"
            )
