"""The distillation temperature as a pure function of the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from snowmelt.errors import SnowmeltError
from snowmelt.schedules.curves import CURVE_KINDS, Curve, CurveKind

TemperatureKind = CurveKind
TEMPERATURE_KINDS = CURVE_KINDS


@dataclass(frozen=True)
class TemperatureSchedule(Curve):
    """Temperature T over the epochs of a run, from soft (``initial``) to hard (``final``); see ``Curve``.

    Raises:
        SnowmeltError: a kind that does not exist, or a temperature that is not positive and finite.
    """

    kind: TemperatureKind = "cosine"
    initial: float = 4.0
    final: float = 1.0

    quantity: ClassVar[str] = "temperature"
    example: ClassVar[str] = "{0: 4.0, 49: 1.0}"

    def check(self, what: str, value: float) -> None:
        """Refuse what is not a positive, finite number: softened logits would be infinite or turned around."""
        if not (math.isfinite(value) and value > 0):
            raise SnowmeltError(f"{what} is {value}; a temperature must be positive and finite", code="settings-value")
