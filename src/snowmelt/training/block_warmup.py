"""The warm-up of a block that has just thawed."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snowmelt.errors import SnowmeltError

LOWEST = 0.05  # as the learning rate's own warm-up: the first step is not zero


@dataclass(frozen=True)
class BlockWarmup:
    """The rate of a block rises on a straight line to its scheduled value over its first ``epochs`` epochs.

    A block without moments makes steps of full size from its first one on, as AdamW divides by what it has seen. A
    block that learns from the run's first epoch on has the schedule's own warm-up, and none of this.

    Raises:
        SnowmeltError: a length that is negative or not finite.
    """

    epochs: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs >= 0):
            raise SnowmeltError(
                f"a block warms up over {self.epochs} epochs; it must be 0 or more", code="settings-value"
            )

    def factor(self, position: float, thawed_in: int) -> float:
        """Factor on the rate, at ``position`` epochs, of a block that thawed in epoch ``thawed_in``."""
        done = position - thawed_in
        if thawed_in == 0 or done >= self.epochs:
            return 1.0
        return LOWEST + (1 - LOWEST) * done / self.epochs
