"""The one object that says where a run is; what is saved and resumed, besides weights and optimizer."""

from __future__ import annotations

import math
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from snowmelt.training.thaw_guard import GuardState


@dataclass
class TrainState:
    """Position and tallies of a run.

    There is no generator state in it on purpose: order, augmentation and the networks' own randomness are seeded
    from (seed, epoch, step), so the position alone restores them.

    Attributes:
        step: optimizer steps done in the run.
        epoch: the epoch that the next step belongs to.
        step_in_epoch: steps done in that epoch.
        best_miou, best_epoch: best validation score of a complete epoch and when it was reached.
        sums: loss terms summed over the steps of the current epoch, one value per process.
        skipped: steps of the current epoch without an update, since something was not finite.
        skipped_in_a_row: such steps in a row, up to now; without those that fp16's loss scale answers.
        row_causes: what was not finite in them -> in how many.
        suspects: positions in the source of images that stood in such steps of this epoch, or of the row; the newest.
        skip_warnings: warnings about such steps that were given.
        fade_from: the epoch in which the student passed its teacher and distillation began to fade.
        thaw_cap: no more blocks than these thaw, whatever the schedule says; ``None``: no limit.
        micro_batch: images per forward pass since memory did not suffice; ``None``: the batch size.
        thawed_in: the epoch in which each block that learns began to, deepest first.
        guard: what the thaw guard knows of the epochs before.
        rollbacks: each return to an earlier position so far, as ``rollback.py`` tells it.
        rate_factor: on every rate, since the last of them.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    best_miou: float = -math.inf
    best_epoch: int = -1
    sums: dict[str, list[float]] = field(default_factory=dict)
    skipped: int = 0
    skipped_in_a_row: int = 0
    fade_from: int | None = None  # with a default, as checkpoints of before there was a fade have none
    suspects: list[int] = field(default_factory=list)
    skip_warnings: int = 0
    thaw_cap: int | None = None
    micro_batch: int | None = None
    thawed_in: list[int] = field(default_factory=list)
    guard: GuardState = field(default_factory=GuardState)
    row_causes: dict[str, int] = field(default_factory=dict)
    rollbacks: list[dict[str, Any]] = field(default_factory=list)
    rate_factor: float = 1.0

    @property
    def settled(self) -> bool:
        """Whether this is a place to go back to: an epoch is over and scored, and it did not end among bad steps.

        Not inside an epoch: nobody has scored what is there, and where a run is saved inside of one depends on where
        it was cut, which must not decide what becomes of it.
        """
        return self.step_in_epoch == 0 and self.skipped_in_a_row == 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainState:
        """Raises ``TypeError`` for a value of another type than a run would have put there."""
        guard = GuardState(**values.get("guard", {}))
        state = cls(**{**values, "guard": guard})
        for part in (state, guard):
            for each in fields(part):
                _check_type(each.name, getattr(part, each.name), each.default)
        if not all(isinstance(each, list) for each in state.sums.values()):
            raise TypeError("sums are not lists")
        return state

    def go_back_to(self, earlier: TrainState) -> None:
        """Become ``earlier``, but for what does not belong to the position: memory, warnings given, rollbacks."""
        kept = ("micro_batch", "thaw_cap", "skip_warnings", "rollbacks")
        for each in fields(self):
            if each.name not in kept:
                setattr(self, each.name, getattr(earlier, each.name))

    def enter_stage(self, thawed: int) -> None:
        """Keep when each of the ``thawed`` blocks began to learn, those of this epoch among them."""
        kept = self.thawed_in[:thawed]
        self.thawed_in = [*kept, *[self.epoch] * (thawed - len(kept))]

    def next_epoch(self) -> None:
        """Close the current epoch."""
        self.epoch += 1
        self.step_in_epoch = 0
        self.sums = {}
        self.skipped = 0
        if self.skipped_in_a_row == 0:
            self.suspects = []


def _check_type(name: str, value: Any, default: Any) -> None:
    """Numbers are numbers, and whatever is nothing by default may be a number, too. What is made anew is a list."""
    kinds: tuple[type, ...] = (list, dict, GuardState)
    if default is not MISSING:
        kinds = (int, type(None)) if default is None else (int, float) if isinstance(default, float) else (int,)
    if not isinstance(value, kinds):
        raise TypeError(f"{name} is {type(value).__name__}")
