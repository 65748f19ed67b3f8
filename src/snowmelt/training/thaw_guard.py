"""The thaw guard: while validation loss rises and training loss falls, thawing waits and the newest block slows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from snowmelt.errors import SnowmeltError

Reaction = Literal["held", "slowed", "recovered"]


@dataclass
class GuardState:
    """What the guard knows of the epochs before; saved with the run.

    Attributes:
        best: lowest validation loss so far; ``train_at_best``: the training loss of that epoch.
        rising: epochs in a row, up to now, that overfitted.
        holding: thawing waits.
        delay: epochs by which all that has not thawed yet thaws later than scheduled.
        factors: factor on the rate of each block, deepest first; blocks that were never slowed may be missing.
        reactions: how often thawing was held or a block slowed.
    """

    best: float = math.inf
    train_at_best: float = math.inf
    rising: int = 0
    holding: bool = False
    delay: int = 0
    factors: list[float] = field(default_factory=list)
    reactions: int = 0

    def factor(self, block: int) -> float:
        """Factor on the rate of the ``block``-th block, counted from the deepest."""
        return self.factors[block] if block < len(self.factors) else 1.0


@dataclass(frozen=True)
class ThawGuard:
    """Delays thawing and slows the newest block while the network overfits.

    An epoch *overfits* when its validation loss is more than ``margin`` (relative) above the lowest so far while its
    training loss is below what it was in that lowest epoch. After ``patience`` such epochs in a row the guard *holds*:
    every further epoch delays all that has not thawed yet by an epoch. At the same time it halves the rate of the
    block that thawed last, and again after every ``patience`` further epochs in a row, down to ``floor``. The hold
    ends with the first epoch whose validation loss is within ``margin`` of the lowest again; from then on every slowed
    block doubles its factor each epoch, up to 1. Nothing is ever frozen again. Losses that are not finite judge
    nothing: a hold stays as it is.

    Raises:
        SnowmeltError: a value outside its range.
    """

    enabled: bool = False
    patience: int = 2
    margin: float = 0.005
    floor: float = 0.125

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise SnowmeltError(
                f"the thaw guard reacts after {self.patience} epochs; it takes at least 1", code="settings-value"
            )
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise SnowmeltError(
                f"the thaw guard's margin is {self.margin}; it must be 0 or more", code="settings-value"
            )
        if not 0 < self.floor <= 1:
            raise SnowmeltError(
                f"the thaw guard's lowest factor is {self.floor}; it must be above 0 and at most 1",
                code="settings-value",
            )

    def judge(
        self, before: GuardState, validation: float, training: float, thawed: int, waiting: bool
    ) -> tuple[GuardState, Reaction | None]:
        """The state after a complete epoch, and what the guard did, if anything.

        Args:
            validation: the epoch's loss on the validation set; ``training`` on the training images.
            thawed: blocks that learned in it; ``waiting``: whether there are more to thaw.
        """
        if not self.enabled or (thawed == 0 and not waiting):
            return before, None
        if not (math.isfinite(validation) and math.isfinite(training)):
            return replace(before, delay=before.delay + (before.holding and waiting)), None
        recovered = validation <= before.best * (1 + self.margin)
        overfits = not recovered and training < before.train_at_best
        rising = before.rising + 1 if overfits else 0
        reacts = overfits and rising % self.patience == 0
        holding = (before.holding or reacts) and not recovered
        factors = before.factors
        if reacts and thawed:
            factors = self._slowed(factors, thawed - 1)
        elif not holding:
            factors = [min(1.0, 2 * factor) for factor in factors]
        changed = reacts and (not before.holding or factors != before.factors)
        after = GuardState(
            best=min(validation, before.best),
            train_at_best=training if validation < before.best else before.train_at_best,
            rising=rising,
            holding=holding,
            delay=before.delay + (holding and waiting),
            factors=factors,
            reactions=before.reactions + changed,
        )
        if changed:
            return after, "slowed" if before.holding else "held"
        return after, "recovered" if before.holding and recovered else None

    def _slowed(self, factors: list[float], block: int) -> list[float]:
        filled = [*factors, *[1.0] * (block + 1 - len(factors))]
        filled[block] = max(self.floor, filled[block] / 2)
        return filled
