"""Everything that is known of a comparison of arms: ready for a table, a plot and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from snowmelt.errors import SnowmeltError
from snowmelt.study.statistics import Difference, Spread, iou_of, mean_iou_of, paired_difference, spread_of
from snowmelt.study.verdict import Verdict, verdict_of

LEVEL = 0.95
RESAMPLES = 2000
DRAW_SEED = 0

Part = Literal["test", "val"]
Budget = Literal["epochs", "seconds"]


@dataclass(frozen=True, eq=False)
class ArmRun:
    """One seed of one arm.

    Attributes:
        steps: optimizer steps in all its epochs.
        val_miou: score on validation of ``best_epoch``, whose weights are the ones that are scored.
        val_curve: mIoU on validation, epoch by epoch.
        seconds_curve: seconds of training at the end of each epoch, added up.
        matrices: (I, C, C) counts, a confusion matrix for each image of the scored part; rows are the truth.
        transfer: the same for the second data set, with its own images.
        agreement: share of pixels on which it says what its teacher says.
    """

    seed: int
    epochs: int
    steps: int
    best_epoch: int
    val_miou: float
    val_curve: tuple[float, ...]
    seconds_curve: tuple[float, ...]
    images_per_second: float
    matrices: np.ndarray
    transfer: np.ndarray | None = None
    agreement: float | None = None


@dataclass(frozen=True)
class ArmResult:
    """All seeds of one arm; ``schedule``: whether it has a moving temperature and a progressive thaw both."""

    name: str
    description: str
    teacher: bool
    runs: tuple[ArmRun, ...]
    schedule: bool = False

    def spread(self) -> Spread:
        """Its scores, seed by seed."""
        return spread_of(np.stack([run.matrices for run in self.runs]))

    def mean(self, name: str) -> float:
        """Mean over the seeds of a number that each run has; NaN where one has none."""
        values = [getattr(run, name) for run in self.runs]
        return math.nan if None in values else float(np.mean(values))

    def transfer(self) -> float:
        """Mean score on the second data set; NaN without one."""
        matrices = [run.transfer for run in self.runs if run.transfer is not None]
        return float(np.mean([score_of(each) for each in matrices])) if len(matrices) == len(self.runs) else math.nan


@dataclass(frozen=True, eq=False)
class TeacherResult:
    """Who taught.

    Attributes:
        training_seconds: ``None`` where it came from elsewhere and nobody knows.
        cache_seconds: of its pass over the images; ``None`` where it was asked live.
    """

    name: str
    val_miou: float | None
    matrices: np.ndarray | None = None
    transfer: np.ndarray | None = None
    training_seconds: float | None = None
    cache_seconds: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Arms over seeds, scored on one part.

    Attributes:
        part: what ``matrices`` were counted on; choices (the epoch, the arm) are made on validation.
        budget: what the runs have in common: passes over the data, or seconds of training.
        base: name of the arm that the others are compared with.
        notes: whatever a reader should know besides.

    Raises:
        SnowmeltError: no arm named ``base``, or an arm without a run.
    """

    name: str
    part: Part
    classes: tuple[str, ...]
    budget: Budget
    base: str
    arms: tuple[ArmResult, ...]
    teacher: TeacherResult | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.base not in [arm.name for arm in self.arms]:
            raise SnowmeltError(
                f"comparison {self.name}: there is no arm {self.base!r} to compare with", code="argument-value"
            )
        for arm in self.arms:
            if not arm.runs:
                raise SnowmeltError(
                    f"comparison {self.name}: arm {arm.name!r} has no finished run yet", code="comparison-failed"
                )

    def arm(self, name: str) -> ArmResult:
        """The arm of that name."""
        return next(arm for arm in self.arms if arm.name == name)

    @cached_property
    def differences(self) -> dict[str, Difference | None]:
        """Each other arm's difference to the base; ``None`` where they share no seed."""
        return {arm.name: self.difference(arm.name) for arm in self.arms if arm.name != self.base}

    @cached_property
    def verdict(self) -> Verdict:
        """What all this says, in words."""
        return verdict_of(self)

    def difference(self, arm: str, base: str | None = None, level: float = LEVEL) -> Difference | None:
        """``arm`` minus ``base`` over the seeds that both have; ``None`` where they share none."""
        first = {run.seed: run.matrices for run in self.arm(arm).runs}
        second = {run.seed: run.matrices for run in self.arm(base or self.base).runs}
        shared = [seed for seed in second if seed in first]
        if not shared:
            return None
        return _difference([first[seed] for seed in shared], [second[seed] for seed in shared], level)

    def teacher_difference(self) -> Difference | None:
        """The teacher minus the base. The teacher is one network, so only the base's seeds vary."""
        if self.teacher is None or self.teacher.matrices is None:
            return None
        runs = self.arm(self.base).runs
        return _difference([self.teacher.matrices] * len(runs), [run.matrices for run in runs], LEVEL)

    def difference_to_teacher(self, arm: str) -> Difference | None:
        """``arm`` minus the teacher, over the arm's seeds; ``None`` where the teacher was not scored."""
        if self.teacher is None or self.teacher.matrices is None:
            return None
        runs = self.arm(arm).runs
        return _difference([run.matrices for run in runs], [self.teacher.matrices] * len(runs), LEVEL)

    def rows(self) -> list[dict[str, Any]]:
        """The table, a dictionary for each arm; what is not known or does not apply is ``None``.

        Seconds and ``images_per_second`` are means over the seeds. ``train_seconds_with_teacher`` adds the training of
        the teacher and its pass over the images to the arms that need one. ``seconds_to_base_best``: mean over the
        seeds that reach the base's mean best validation score; ``seeds_not_reaching`` says how many never do.
        ``last_gap``: best validation score minus the last epoch's. ``transfer_of_teacher`` and ``transfer_of_base``
        are shares of their scores on the second data set.
        """
        return [as_plain(self._row(arm)) for arm in self.arms]

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data for JSON; what is not a number is ``None``."""
        teacher = None if self.teacher is None else self._teacher_dict(self.teacher)
        return as_plain(
            {
                "name": self.name,
                "part": self.part,
                "classes": list(self.classes),
                "budget": self.budget,
                "base": self.base,
                "statistics": {"level": LEVEL, "resamples": RESAMPLES, "seed": DRAW_SEED},
                "arms": self.rows(),
                "runs": [_run_dict(arm.name, run) for arm in self.arms for run in arm.runs],
                "iou": {arm.name: self._iou([run.matrices for run in arm.runs]) for arm in self.arms},
                "differences": {name: each and asdict(each) for name, each in self.differences.items()},
                "to_teacher": {name: each and asdict(each) for name, each in self._to_teacher().items()},
                "teacher": teacher,
                "verdict": asdict(self.verdict),
                "notes": list(self.notes),
            }
        )

    def _row(self, arm: ArmResult) -> dict[str, Any]:
        spread, base = arm.spread(), self.arm(self.base)
        difference = self.differences.get(arm.name)
        seconds = float(np.mean([run.seconds_curve[-1] for run in arm.runs]))
        reached = [_seconds_to(run, base.mean("val_miou")) for run in arm.runs]
        arrived = [each for each in reached if each is not None]
        transfer = arm.transfer()
        return {
            "arm": arm.name,
            "description": arm.description,
            "teacher": arm.teacher,
            "seeds": len(arm.runs),
            "epochs": arm.mean("epochs"),
            "steps": arm.mean("steps"),
            "miou": spread.mean,
            "deviation": spread.deviation,
            "difference": None if difference is None else difference.estimate,
            "low": None if difference is None else difference.low,
            "high": None if difference is None else difference.high,
            "relative": None if difference is None else difference.relative,
            "share_of_teacher": _share(spread.mean, None if self.teacher is None else self.teacher.matrices),
            "agreement": arm.mean("agreement"),
            "val_miou": arm.mean("val_miou"),
            "images_per_second": arm.mean("images_per_second"),
            "train_seconds": seconds,
            "train_seconds_with_teacher": seconds + (self._teacher_seconds() if arm.teacher else 0.0),
            "seconds_to_base_best": float(np.mean(arrived)) if arrived else None,
            "seeds_not_reaching": len(reached) - len(arrived),
            "last_gap": float(np.mean([run.val_miou - run.val_curve[-1] for run in arm.runs])),
            "transfer": transfer,
            "transfer_of_teacher": _share(transfer, None if self.teacher is None else self.teacher.transfer),
            "transfer_of_base": transfer / base.transfer() if base.transfer() else math.nan,
        }

    def _to_teacher(self) -> dict[str, Difference | None]:
        return {arm.name: self.difference_to_teacher(arm.name) for arm in self.arms if arm.teacher}

    def _teacher_seconds(self) -> float:
        """Training and pass over the images; NaN where its training was elsewhere and nobody knows."""
        if self.teacher is None or self.teacher.training_seconds is None:
            return math.nan
        return self.teacher.training_seconds + (self.teacher.cache_seconds or 0.0)

    def _teacher_dict(self, teacher: TeacherResult) -> dict[str, Any]:
        difference = self.teacher_difference()
        return {
            "name": teacher.name,
            "val_miou": teacher.val_miou,
            "miou": None if teacher.matrices is None else score_of(teacher.matrices),
            "iou": None if teacher.matrices is None else self._iou([teacher.matrices]),
            "transfer": None if teacher.transfer is None else score_of(teacher.transfer),
            "training_seconds": teacher.training_seconds,
            "cache_seconds": teacher.cache_seconds,
            "difference": difference and asdict(difference),
        }

    def _iou(self, matrices: Sequence[np.ndarray]) -> dict[str, float]:
        """IoU by class, mean over the seeds in which the class is there."""
        by_seed = iou_of(np.stack([each.sum(0) for each in matrices]))
        columns = [column[~np.isnan(column)] for column in by_seed.T]
        means = [float(column.mean()) if len(column) else math.nan for column in columns]
        return dict(zip(self.classes, means, strict=True))


def score_of(matrices: np.ndarray) -> float:
    """One mIoU of the matrices of all images, (I, C, C)."""
    return float(mean_iou_of(matrices.sum(0)))


def as_plain(value: Any) -> Any:
    """Data that JSON knows: numbers of NumPy as Python's, tuples as lists, and what is not a number as ``None``."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _difference(arm: list[np.ndarray], base: list[np.ndarray], level: float) -> Difference:
    return paired_difference(np.stack(arm), np.stack(base), level=level, resamples=RESAMPLES, seed=DRAW_SEED)


def _share(score: float, matrices: np.ndarray | None) -> float:
    whole = math.nan if matrices is None else score_of(matrices)
    return score / whole if whole else math.nan


def _seconds_to(run: ArmRun, score: float) -> float | None:
    """Seconds of training after which it has ``score`` on validation, or ``None`` if it never has."""
    nearly = score - 1e-12  # a mean of equal scores may lie a rounding above them
    return next((time for time, each in zip(run.seconds_curve, run.val_curve, strict=True) if each >= nearly), None)


def _run_dict(arm: str, run: ArmRun) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": run.seed,
        "epochs": run.epochs,
        "steps": run.steps,
        "best_epoch": run.best_epoch,
        "val_miou": run.val_miou,
        "miou": score_of(run.matrices),
        "transfer": None if run.transfer is None else score_of(run.transfer),
        "agreement": run.agreement,
        "images_per_second": run.images_per_second,
        "seconds": run.seconds_curve[-1],
        "val_curve": list(run.val_curve),
        "seconds_curve": list(run.seconds_curve),
    }
