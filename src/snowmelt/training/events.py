"""What training tells its listeners, and nothing about who listens."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from snowmelt.disk import WriteError

PixelCounts = tuple[tuple[int, ...], ...]
"""A confusion matrix: pixels of (true class, predicted class), rows are the truth."""


@dataclass(frozen=True)
class RunStarted:
    """A run begins, or goes on after a cut (``resumed``)."""

    name: str
    epochs: int
    steps_per_epoch: int
    last_step: int  # the run ends after this many optimizer steps (max_steps included)
    first_epoch: int
    first_step: int  # optimizer steps already done
    classes: tuple[str, ...]
    groups: tuple[str, ...]  # names of the parameter groups: decoder, then blocks deepest first
    device: str
    precision: str
    effective_batch: int
    parameters: int
    resumed: bool


@dataclass(frozen=True)
class StageStarted:
    """The trainable set of this epoch differs from the one before, or the run begins here."""

    epoch: int
    thawed_blocks: int
    learns: tuple[str, ...]
    trainable_parameters: int


@dataclass(frozen=True)
class StageCompiled:
    """The first step of a stage whose network is compiled is done; ``seconds`` is what it took, compiling included."""

    epoch: int
    seconds: float


@dataclass(frozen=True)
class StepEnded:
    """An optimizer step is done. ``losses`` is read from the device at log intervals only and else ``None``."""

    step: int  # optimizer steps done so far in the run
    epoch: int
    step_in_epoch: int  # from 1
    temperature: float | None
    thawed_blocks: int
    learning_rates: Mapping[str, float]
    losses: Mapping[str, float] | None
    images: int  # images seen in this step, all processes together


@dataclass(frozen=True)
class EpochRecord:
    """All that is logged of an epoch. Everything but ``timing`` is what a run with this seed always gives.

    ``iou`` by class and ``miou`` are fractions; NaN marks a class that is in neither truth nor prediction.
    ``agreement`` is the share of valid pixels where student and teacher predict the same class. ``alpha`` is the share
    of distillation that the epoch was trained with, after schedule and fade, ``None`` without a teacher; ``weights``
    are the scheduled ones. ``teacher_iou`` and both confusion matrices are those of the epoch's score, and in no table.
    """

    epoch: int
    step: int
    complete: bool  # False for a last epoch that max_steps cut short
    temperature: float | None
    thawed_blocks: int
    learning_rates: Mapping[str, float]  # at the epoch's first step
    train: Mapping[str, float]  # loss terms, mean over the epoch's steps
    val: Mapping[str, float]  # loss terms, mean over the set
    miou: float
    iou: Mapping[str, float]
    teacher_miou: float | None
    agreement: float | None
    skipped_steps: int  # steps without an update because something was not finite
    best: bool
    timing: Mapping[str, float] = field(default_factory=dict)  # seconds, images_per_second, peak_memory_mb, ...
    alpha: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    teacher_iou: Mapping[str, float] | None = None
    confusion: PixelCounts | None = None
    teacher_confusion: PixelCounts | None = None
    rollbacks: int = 0  # so far in the run


@dataclass(frozen=True)
class EpochEnded:
    record: EpochRecord


@dataclass(frozen=True)
class RolledBack:
    """The run goes back to ``first_epoch``, which comes again, with lower rates. What was told of it is void."""

    first_epoch: int
    first_step: int  # optimizer steps that are kept
    best_epoch: int  # of those that are kept; -1: none
    factor: float  # on every rate from here on
    rollbacks: int  # so far in the run


@dataclass(frozen=True)
class NotFinite:
    """Bad steps did not end, and the run goes back, or ends here (``stops``). ``content`` is plain JSON."""

    content: Mapping[str, Any]
    stops: bool


@dataclass(frozen=True)
class RunEnded:
    """``reason``: all epochs done, stopped by max_steps, or no better score for as long as the patience lasts."""

    step: int
    best_epoch: int
    best_miou: float
    reason: Literal["complete", "max_steps", "plateau"]


@dataclass(frozen=True)
class RunStopped:
    """The run was asked to stop, by ``signal``, and its checkpoint is written; it goes on from there one day."""

    signal: str  # its name, such as SIGTERM
    epoch: int
    step: int  # optimizer steps done so far in the run

    @property
    def text(self) -> str:
        """A line for a person."""
        return f"stopped by {self.signal} at epoch {self.epoch}, step {self.step}; go on with --resume"


@dataclass(frozen=True)
class Message:
    """A line for a person: ``info`` or ``warning``. Warnings are repeated in the run's summary."""

    text: str
    level: Literal["info", "warning"] = "info"


Event = (
    RunStarted
    | StageStarted
    | StageCompiled
    | StepEnded
    | EpochEnded
    | NotFinite
    | RolledBack
    | RunEnded
    | RunStopped
    | Message
)


class Listener:
    """Base of everything that follows a run: override what you want to hear."""

    def receive(self, event: Event) -> None:
        """Take one event. Called on rank 0 only."""

    def settle(self) -> None:
        """Write what could not be written before, if there is anything. Raises ``WriteError``."""

    def close(self) -> None:
        """Release files and screens; called once, also after an error."""


class Announcer:
    """Passes each event to every listener, in order.

    Args:
        goes_on: what a listener cannot write is a warning, once in an epoch; otherwise it ends the run.
    """

    def __init__(self, listeners: list[Listener] | None = None, goes_on: bool = False) -> None:
        self.listeners = listeners or []
        self.goes_on = goes_on
        self._failing: set[int] = set()  # listeners that were warned of in this epoch

    def tell(self, event: Event) -> None:
        """Raises ``WriteError`` where a listener cannot write and the run does not go on without it."""
        if isinstance(event, EpochEnded):
            self._failing.clear()
        for number, listener in enumerate(self.listeners):
            try:
                listener.receive(event)
            except WriteError as error:
                if not self.goes_on:
                    raise
                if number not in self._failing:
                    self._failing.add(number)
                    self.warn(f"{error}; the run goes on and tries again")

    def warn(self, text: str) -> None:
        """A warning to all who can take it."""
        for number, listener in enumerate(self.listeners):
            try:
                listener.receive(Message(text, "warning"))
            except WriteError:
                self._failing.add(number)

    def settle(self) -> list[WriteError]:
        """Let every listener write what it could not before; what still cannot be written."""
        errors = []
        for listener in self.listeners:
            try:
                listener.settle()
            except WriteError as error:
                errors.append(error)
        return errors

    def close(self) -> None:
        for listener in self.listeners:
            with suppress(WriteError):  # whatever led here has been said
                listener.close()
