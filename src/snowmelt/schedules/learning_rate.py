"""The factor on every base learning rate, as a pure function of the position in the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from snowmelt.errors import SnowmeltError

LearningRateKind = Literal["constant", "trapezoid", "cosine", "poly"]
LEARNING_RATE_KINDS: tuple[str, ...] = get_args(LearningRateKind)


@dataclass(frozen=True)
class LearningRateSchedule:
    """Factor on the learning rate, the same for every parameter group, over the run.

    The position is counted in epochs and may be fractional (step / steps per epoch), so the plan is known before
    the data is. A linear warm-up over ``warmup`` epochs multiplies one of these curves of the share of the run
    that is done, s = position / epochs:

    | kind | factor |
    |---|---|
    | constant | 1 |
    | trapezoid | 1 until s = 1 - ``cooldown``, then straight down to ``floor`` |
    | cosine | ``floor`` + (1 - ``floor``) (1 + cos(pi s)) / 2 |
    | poly | ``floor`` + (1 - ``floor``) (1 - s)^0.9 |

    ``trapezoid`` is the default (constant, then a short decay: Zhai et al., arXiv 2106.04560; Haegele et al.,
    arXiv 2405.18392): blocks that thaw late still meet the full rate, while under a cosine the last block of the
    reference experiment (epoch 40 of 50) would start at a tenth of it.

    Raises:
        SnowmeltError: a value outside its range.
    """

    kind: LearningRateKind = "trapezoid"
    warmup: float = 1.0
    cooldown: float = 0.2
    floor: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in LEARNING_RATE_KINDS:
            raise SnowmeltError(
                f"learning-rate schedule {self.kind!r} does not exist; choose one of {', '.join(LEARNING_RATE_KINDS)}",
                code="settings-value",
            )
        if not (math.isfinite(self.warmup) and self.warmup >= 0):
            raise SnowmeltError(f"warm-up is {self.warmup} epochs; it must be 0 or more", code="settings-value")
        if not 0 < self.cooldown <= 1:
            raise SnowmeltError(
                f"cool-down share is {self.cooldown}; it must be above 0 and at most 1", code="settings-value"
            )
        if not 0 <= self.floor <= 1:
            raise SnowmeltError(
                f"learning-rate floor is {self.floor}; it must be between 0 and 1", code="settings-value"
            )

    def factor(self, position: float, epochs: int) -> float:
        """Factor at ``position`` epochs into a run of ``epochs``.

        The warm-up is shortened to a tenth of the run where the run is short, and its first step is not zero: it
        rises from a twentieth.
        """
        if epochs < 1 or not 0 <= position <= epochs:
            raise SnowmeltError(f"position {position} is outside the run's 0..{epochs} epochs", code="argument-value")
        return self._warm(position, epochs) * self._curve(position / epochs)

    def _warm(self, position: float, epochs: int) -> float:
        warmup = min(self.warmup, epochs / 10)
        if position >= warmup:
            return 1.0
        return 0.05 + 0.95 * position / warmup

    def _curve(self, share: float) -> float:
        if self.kind == "constant":
            return 1.0
        if self.kind == "trapezoid":
            remaining = min((1 - share) / self.cooldown, 1.0)
            return self.floor + (1 - self.floor) * remaining
        if self.kind == "cosine":
            return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
        return self.floor + (1 - self.floor) * (1 - share) ** 0.9
