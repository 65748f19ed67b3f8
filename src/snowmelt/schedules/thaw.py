"""How many encoder blocks learn, as a pure function of the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class ThawSchedule:
    """Progressive unfreezing: none before epoch ``start``, then one block more every ``every`` epochs.

    blocks(e) = 0 before ``start``, then min(1 + (e - start) // every, N), deepest block first.

    Args:
        start: epoch (from 0) in which the deepest block thaws.
        every: epochs between two thaws.
        lr_scale: learning rate of an encoder block as a share of the decoder's.
        most: never thaw more blocks than this; ``None`` thaws the whole encoder in the end.
        progressive: ``False`` lets the whole encoder learn from epoch 0 on, still at ``lr_scale``.

    Raises:
        SnowmeltError: a value outside its range.
    """

    start: int = 10
    every: int = 5
    lr_scale: float = 0.1
    most: int | None = None
    progressive: bool = True

    def __post_init__(self) -> None:
        if self.start < 0:
            raise SnowmeltError(f"first thaw epoch is {self.start}; epochs count from 0", code="settings-value")
        if self.every < 1:
            raise SnowmeltError(f"epochs per block is {self.every}; it must be at least 1", code="settings-value")
        if not (math.isfinite(self.lr_scale) and self.lr_scale > 0):
            raise SnowmeltError(
                f"encoder learning-rate scale is {self.lr_scale}; it must be positive and finite", code="settings-value"
            )
        if self.most is not None and self.most < 0:
            raise SnowmeltError(f"the most blocks to thaw is {self.most}; it must be 0 or more", code="settings-value")

    def blocks_at(self, epoch: int, blocks: int) -> int:
        """Thawed blocks in ``epoch`` (from 0), of an encoder with ``blocks`` of them."""
        if epoch < 0 or blocks < 0:
            raise SnowmeltError(f"epoch {epoch} and blocks {blocks} must be 0 or more", code="argument-value")
        limit = blocks if self.most is None else min(self.most, blocks)
        if not self.progressive:
            return limit
        if epoch < self.start:
            return 0
        return min(1 + (epoch - self.start) // self.every, limit)
