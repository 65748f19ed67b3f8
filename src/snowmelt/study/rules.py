"""The rules behind advice: each looks at curves and facts, and says what it saw and which settings answer it.

All thresholds stand at the top, with what they rest on. "Real runs" are those of docs/results.md: 10 to 70 epochs on
100 and 703 images, parts and person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from snowmelt.study.curves import Curves

LEAST_EPOCHS = 8
"""Below this a quarter of the run is one epoch, and one epoch's score moves by more than any trend."""
RISE = 0.05
"""Of the validation loss above its best. In real runs that did not overfit it ended at most 0.2 % above."""
FALL = 0.02
"""Of the training loss meanwhile, and of the score at a thaw: twice what one epoch's score differs from the next."""
JUMP = 0.15
"""Of the training loss at a thaw; from epoch to epoch it rose by up to 10 % in real runs, without harm."""
UNREST = 0.03
"""Back-and-forth movement of the score an epoch, as a share of it; real runs have up to 2 %."""
STILL_RISING = 0.01
"""Of the score, from one quarter of the run to the next; what has converged stays below."""
HAIR = 0.01
"""Of the final score: so near in the first tenth of the run, the rest was fine-tuning."""
SMALL = 1000
"""Training images; the guide's figure."""
LAST_STAGE = 0.2
"""Share of a run for the stage in which everything learns: the reference has it, and the default rate falls there."""
AVERAGED_STEPS = ((5000, 0.999), (500, 0.99))
"""An average looks back over about 1 / (1 - decay) steps, which may be a fifth of the run at most."""

TINY = 1e-9
"""A score below is none; dividing by it would overflow."""

PUBLISHED = {"temperature": 5.0, "start": 20, "every": 10, "small_scale": 0.01, "overfitting_scale": 0.05}
"""The guide's figures; for fine-tuning it has none, so those are the ones of the named experiment ``fine_tuning``."""
FINE_TUNING = {"temperature": 2.0, "most": 3, "scale": 0.05}

Found = tuple[str, str, dict[str, Any]]
"""What was seen and what it suggests, the figure, and settings by their dotted path."""


@dataclass(frozen=True)
class RunFacts:
    """What the rules want to know of a run besides its curves.

    Attributes:
        images: labelled training images.
        epochs: planned.
        blocks: of the student's encoder.
        cut: whether something else than the last epoch ended the run (``max_steps``, patience).
        progressive, start, every, lr_scale, most: the thaw's settings.
        guard, warmup: ``reactions.thaw_guard`` and ``reactions.block_warmup``.
        temperature: the initial one; ``None`` without a teacher, and where milestones say it.
        lr, average: ``optimizer.lr`` and ``training.average``.
        teacher_epochs: of a teacher that is trained on the way; ``None`` for any other and without one.
    """

    images: int
    epochs: int
    blocks: int
    cut: bool = False
    progressive: bool = True
    start: int = 10
    every: int = 5
    lr_scale: float = 0.1
    most: int | None = None
    guard: bool = False
    warmup: float = 0.0
    temperature: float | None = None
    lr: float = 1e-3
    average: float | None = None
    teacher_epochs: int | None = None

    @property
    def target(self) -> int:
        """Blocks that learn in the end."""
        return self.blocks if self.most is None else min(self.most, self.blocks)

    def last_thaw(self, start: int | None = None, every: int | None = None) -> int:
        """The epoch in which the last block thaws, by these settings or by other ones."""
        first, pace = self.start if start is None else start, self.every if every is None else every
        return first + pace * max(self.target - 1, 0)


def fall_after_thaw(curves: Curves, facts: RunFacts) -> Found | None:
    """The score stood at its best until a thaw, and after it never came near again."""
    score = curves.score
    window = _window(curves)
    for index in curves.thaws:
        before, after = score[:index].max(), score[index:].max()
        level_held = score[max(0, index - window) : index].max() >= before * (1 - FALL)
        if len(score) - index > window and level_held and after < before * (1 - FALL):
            name, epoch = curves.newly_thawed(index), int(curves.epochs[index])
            text = f"after the thaw of {name} in epoch {epoch} the score fell and did not come back; stop before it"
            figure = f"best mIoU {before:.4f} before, {after:.4f} after"
            return text, figure, {"thaw.most": int(curves.thawed[index - 1])}
    return None


def overfitting(curves: Curves, facts: RunFacts) -> Found | None:
    """Validation loss ends well above its best while training loss falls; both as means over a tenth of the run."""
    if len(curves) < LEAST_EPOCHS or not curves.has_losses:
        return None
    window = _window(curves)
    val, train = _means(curves.val, window), _means(curves.train, window)
    best = int(val.argmin())
    if not (val[-1] > val[best] * (1 + RISE) and train[-1] < train[best] * (1 - FALL)):
        return None
    settings: dict[str, Any] = {}
    if facts.progressive and facts.target > 0:
        later = min(2 * max(facts.start, 1), facts.epochs // 2)  # a thaw after the run's end would be none
        if not facts.guard:
            settings = {"reactions.thaw_guard": True}
        elif later > facts.start:
            settings = {"thaw.start": later}
    if facts.lr_scale > PUBLISHED["overfitting_scale"]:
        settings["thaw.lr_scale"] = PUBLISHED["overfitting_scale"]
    if not settings:
        return None
    figure = (
        f"validation loss {val[best]:.4f} around epoch {curves.epochs[best]:.0f} and {val[-1]:.4f} at the end, "
        f"training loss {train[best]:.4f} and {train[-1]:.4f}; cross-entropy + Dice"
    )
    return "validation loss rose while training loss fell; hold the thaw or slow the encoder", figure, settings


def jump_at_thaw(curves: Curves, facts: RunFacts) -> Found | None:
    """The training loss of a thaw's epoch stands out against that of the epoch before."""
    train = curves.train
    # Products, since a loss may be 0; false for NaN.
    jumps = [index for index in curves.thaws if train[index] > train[index - 1] * (1 + JUMP)]
    if not jumps:
        return None
    index = max(jumps, key=lambda index: train[index] - train[index - 1])
    name, epoch = curves.newly_thawed(index), int(curves.epochs[index])
    figure = f"training loss {train[index - 1]:.4f} in the epoch before, {train[index]:.4f} in it"
    told = f"the loss jumped at the thaw of {name} in epoch {epoch}"
    if facts.warmup >= facts.every:  # the next block thaws before this one is warm
        return f"{told} in spite of its warm-up; slow the encoder", figure, {"thaw.lr_scale": facts.lr_scale / 2}
    warmup = min(max(1.0, 2 * facts.warmup), float(facts.every))
    return f"{told}; let a new block's rate rise over its first epochs", figure, {"reactions.block_warmup": warmup}


def unstable(curves: Curves, facts: RunFacts) -> Found | None:
    """In the second half the score goes up and down by more than it gets anywhere."""
    if len(curves) < LEAST_EPOCHS:
        return None
    unrest = _unrest(curves)
    if unrest <= UNREST:
        return None
    figure = f"mIoU moves by {100 * unrest:.1f} % of itself an epoch, to and fro"
    decays = [decay for least, decay in AVERAGED_STEPS if curves.steps >= least]
    if facts.average is None and decays:
        text = "the score jumps from epoch to epoch; score and keep an average of the weights"
        return text, figure, {"training.average": decays[0]}
    return (
        "the score jumps from epoch to epoch; a lower learning rate is calmer",
        figure,
        {"optimizer.lr": facts.lr / 2},
    )


def weak_teacher(curves: Curves, facts: RunFacts) -> Found | None:
    """The student is as good as its teacher."""
    known = curves.teacher[np.isfinite(curves.teacher)]
    if not len(known) or curves.score.max() < known[-1]:
        return None
    figure = f"best mIoU {curves.score.max():.4f}, the teacher's {known[-1]:.4f}"
    if facts.teacher_epochs is None:
        text = "on validation the teacher is no better than its student, so take a stronger one"
        return text, figure, {}
    text = "on validation the teacher is no better than its student; train it longer, or take a stronger one"
    return text, figure, {"teacher.epochs": 2 * facts.teacher_epochs}


def unthawed(curves: Curves, facts: RunFacts) -> Found | None:
    """The schedule's last thaw lies behind the last epoch."""
    if facts.cut or not facts.progressive or facts.last_thaw() < facts.epochs or curves.thawed[-1] >= facts.target:
        return None
    figure = f"{curves.thawed[-1]:.0f} of {facts.target} blocks thawed, the last is due in epoch {facts.last_thaw()}"
    return (
        "the run ended before everything had thawed",
        figure,
        {"training.epochs": _with_last_stage(facts.last_thaw())},
    )


def slow(curves: Curves, facts: RunFacts) -> Found | None:
    """The score still rises in the last quarter, and not because the learning rate falls there."""
    rise = _rise(curves.score)
    if facts.cut or len(curves) < LEAST_EPOCHS or rise < max(STILL_RISING, _unrest(curves)):
        return None
    # A rate that falls at the end lifts the score by itself, so it must have been rising before that, too.
    full = curves.score[curves.rate >= 0.999 * curves.rate.max()]
    if len(full) >= max(LEAST_EPOCHS // 2, len(curves) // 2) and _rise(full) < STILL_RISING:
        return None
    figure = f"mIoU in the last quarter is on average {100 * rise:.1f} % higher than in the quarter before"
    more = max(math.ceil(1.5 * facts.epochs), _with_last_stage(facts.last_thaw()) if facts.progressive else 0)
    return "the score was still rising when the run ended; give it more epochs", figure, {"training.epochs": more}


def slow_published(curves: Curves, facts: RunFacts) -> Found | None:
    """What the guide says of the same: hotter, and thawing later."""
    found = slow(curves, facts)
    if found is None:
        return None
    settings: dict[str, Any] = {}
    if facts.temperature is not None and facts.temperature < PUBLISHED["temperature"]:
        settings["temperature.initial"] = PUBLISHED["temperature"]
    start = int(PUBLISHED["start"])
    if facts.progressive and facts.start < start and facts.last_thaw(start) < found[2]["training.epochs"]:
        settings["thaw.start"] = start
    return ("begin hotter, or thaw later", found[1], settings) if settings else None


def fine_tuning(curves: Curves, facts: RunFacts) -> Found | None:
    """Soon after the start the score is all but what it is in the end."""
    tenth = math.ceil(len(curves) / 10)
    early, final = curves.score[:tenth].max(initial=0.0), _quarter(curves.score).mean()
    if len(curves) < LEAST_EPOCHS or final < TINY or early < (1 - HAIR) * final:
        return None
    settings: dict[str, Any] = {}
    if facts.temperature is not None and facts.temperature > FINE_TUNING["temperature"]:
        settings["temperature.initial"] = FINE_TUNING["temperature"]
    if facts.target > FINE_TUNING["most"]:
        settings["thaw.most"] = FINE_TUNING["most"]
    if facts.lr_scale > FINE_TUNING["scale"]:
        settings["thaw.lr_scale"] = FINE_TUNING["scale"]
    figure = f"mIoU {early:.4f} by epoch {curves.epochs[tenth - 1]:.0f}, {final:.4f} in the end"
    text = "the score was all but final from the start, so this is fine-tuning; begin cooler and thaw fewer blocks"
    return (text, figure, settings) if settings else None


def small_data(curves: Curves, facts: RunFacts) -> Found | None:
    """Few images, and a thaw that is earlier, quicker or stronger than the guide has it for them."""
    if facts.images >= SMALL or not facts.progressive or facts.target == 0:
        return None
    start, every = max(facts.start, int(PUBLISHED["start"])), max(facts.every, int(PUBLISHED["every"]))
    settings: dict[str, Any] = {}
    if facts.start < start:
        settings["thaw.start"] = start
    if facts.every < every:
        settings["thaw.every"] = every
    if facts.lr_scale > PUBLISHED["small_scale"]:
        settings["thaw.lr_scale"] = PUBLISHED["small_scale"]
    if not settings:
        return None
    if facts.last_thaw(start, every) >= facts.epochs:
        settings["training.epochs"] = _with_last_stage(facts.last_thaw(start, every))
    text = (
        "this is a small set, for which the guide thaws later and slower at a lower encoder rate; on 300 street "
        "photographs a rate of 0.01 scored lowest of four (docs/results.md), so compare before you follow it"
    )
    return text, f"{facts.images} training images, fewer than {SMALL}", settings


def _window(curves: Curves) -> int:
    """Epochs that a mean is taken over: a tenth of the run."""
    return max(2, len(curves) // 10)


def _means(values: np.ndarray, window: int) -> np.ndarray:
    """Of each ``window`` values in a row."""
    return np.convolve(values, np.full(window, 1 / window), "valid")


def _quarter(values: np.ndarray) -> np.ndarray:
    """The last one."""
    return values[-max(2, len(values) // 4) :]


def _rise(values: np.ndarray) -> float:
    """From the quarter before the last to the last, as a share of the former; 0 where there is no score at all."""
    last = _quarter(values)
    before = values[: -len(last)][-len(last) :]
    return float(last.mean() / before.mean() - 1) if len(before) and before.mean() > TINY else 0.0


def _unrest(curves: Curves) -> float:
    """Movement of the score an epoch in the second half that leads nowhere, as a share of the score."""
    half = curves.score[len(curves) // 2 :]
    steps = np.diff(half)
    return float((np.abs(steps).sum() - abs(steps.sum())) / len(steps) / max(half.mean(), TINY))


def _with_last_stage(last_thaw: int) -> int:
    return math.ceil(max(last_thaw, 1) / (1 - LAST_STAGE))
