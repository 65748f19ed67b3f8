"""Distillation fades once the student has passed its teacher."""

from __future__ import annotations

from dataclasses import dataclass

from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class DistillationFade:
    """Fades distillation out after the first complete epoch whose validation mIoU reaches the teacher's.

    A teacher that is no better than its student holds it back: what it still says is what the student got wrong
    less often. alpha is then multiplied by a factor that falls on a straight line from 1 to 0 over ``epochs`` epochs
    and stays at 0. The only state is the epoch in which that happened, so a resumed run fades like one that was
    never cut.

    Raises:
        SnowmeltError: less than one epoch.
    """

    enabled: bool = False
    epochs: int = 5

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SnowmeltError(
                f"distillation fades over {self.epochs} epochs; it takes at least 1", code="settings-value"
            )

    def begins(self, miou: float, teacher_miou: float | None, fade_from: int | None) -> bool:
        """Whether the epoch with these scores is the first in which the student has passed its teacher."""
        # A score that is NaN is no score: neither comparison with it holds.
        return self.enabled and fade_from is None and teacher_miou is not None and miou >= teacher_miou

    def factor(self, epoch: int, fade_from: int | None) -> float:
        """Factor on alpha in ``epoch``: with n ``epochs``, (n - 1) / n in the epoch after ``fade_from``, then less."""
        if not self.enabled or fade_from is None:
            return 1.0
        return max(0, self.epochs - max(0, epoch - fade_from)) / self.epochs
