"""What a comparison says, in plain words: whether it helped, or that it cannot be told."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from snowmelt.study.power import images_needed, ratio_needed, seeds_needed
from snowmelt.study.statistics import Difference

if TYPE_CHECKING:
    from snowmelt.study.comparison import ArmResult, Comparison

Answer = Literal["helped", "hurt", "unclear"]
KD = "kd"
MOST_APART = 0.1  # of the base's; a prediction of seconds from a few steps of each stage is off by some percent


@dataclass(frozen=True)
class Verdict:
    """Sentences to print, and the same for programs.

    Attributes:
        helped: whether the arm that the comparison is about scores above the base: the one with both schedules, else
            the last one with a teacher, else the last one.
        answers: by question: ``teacher`` (is it better than the base?), the arm's name (is it better than the base?),
            ``kd`` (is that arm better than distillation at a constant temperature?), ``best`` (is the best arm?) and
            ``student`` (is the best arm that has a teacher better than the teacher?). A question that this comparison
            does not ask is missing.
    """

    sentences: tuple[str, ...]
    helped: Answer
    answers: dict[str, Answer] = field(default_factory=dict)


def verdict_of(comparison: Comparison) -> Verdict:
    """The verdict of a comparison. One seed never helps or hurts: it says nothing about the next one."""
    said = _Saying(comparison)
    said.teacher()
    said.subject()
    said.best()
    said.student()
    said.stability()
    said.time()
    if comparison.part == "val":
        said.sentences.append(
            "These scores are of validation, where the best epochs were chosen too, so all of them are flattered; "
            "for a claim, score a test part."
        )
    return Verdict(tuple(said.sentences), said.helped, said.answers)


def answer_of(difference: Difference | None) -> Answer:
    """``helped`` or ``hurt`` where the interval leaves out 0, and more than one seed stands behind it."""
    if difference is None or difference.seeds < 2:
        return "unclear"
    if difference.low > 0:
        return "helped"
    return "hurt" if difference.high < 0 else "unclear"


def subject_of(comparison: Comparison) -> ArmResult | None:
    """The arm that a comparison is about: both schedules, else the last with a teacher, else the last; not the base."""
    others = [arm for arm in comparison.arms if arm.name != comparison.base]
    both = [arm for arm in others if has_schedule(arm)]
    named = [arm for arm in both if set(arm.name.split("+")) == {"cooled", "thaw"}]
    taught = [arm for arm in others if arm.teacher]
    return next((group[-1] for group in (named, both, taught, others) if group), None)


def has_schedule(arm: ArmResult) -> bool:
    """Whether an arm cools and thaws, as told or by its name."""
    return arm.schedule or {"cooled", "thaw"} <= set(arm.name.split("+"))


class _Saying:
    """The sentences as they come together."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.sentences: list[str] = []
        self.answers: dict[str, Answer] = {}
        self.helped: Answer = "unclear"

    def teacher(self) -> None:
        """First of all: is there anything to learn from it?"""
        comparison, base = self.comparison, self.comparison.base
        if comparison.teacher is None:
            return
        difference = comparison.teacher_difference()
        if difference is None:
            self.sentences.append(
                f"The teacher was not scored on these images, so whether it is better than {base} is not known."
            )
            return
        self.answers["teacher"] = answer = answer_of(difference)
        taught = comparison.arm(base).teacher  # then this says nothing of what distillation has to give
        if answer == "helped":
            what = "more" if taught else "something"
            self.sentences.append(
                f"The teacher is better than {base}, by {_amount(difference)}: there is {what} to learn from it."
            )
        elif answer == "hurt":
            end = ", which learnt from it" if taught else ": distillation has little to give here"
            self.sentences.append(f"The teacher is worse than {base}, by {_amount(difference)}{end}.")
        else:
            little = " As far as this shows, distillation has little to give here."
            self.sentences.append(
                f"It cannot be told that the teacher is better than {base}{', which learnt from it' * taught}: "
                f"{_open(difference)}.{'' if taught or difference.low > 0 else little}"
            )

    def subject(self) -> None:
        """Did it help?"""
        comparison, arm = self.comparison, subject_of(self.comparison)
        if arm is None:
            return
        name = _title(arm)
        difference = comparison.differences[arm.name]
        self.helped = self.answers[arm.name] = answer_of(difference)
        self.sentences.append(_against(name, comparison.base, difference))
        others = [each.name for each in comparison.arms]
        if KD in others and KD not in (comparison.base, arm.name):
            difference = comparison.difference(arm.name, KD)
            self.answers[KD] = answer_of(difference)
            self.sentences.append(_against(name, f"{KD} (constant temperature)", difference))

    def best(self) -> None:
        """Who is the best, and how far that can be trusted."""
        comparison = self.comparison
        others = len(comparison.arms) - 1
        if not others:
            return
        best = max(comparison.arms, key=lambda arm: arm.mean("val_miou"))
        chosen = f"{best.name} is the best of {others + 1} arms on validation ({best.mean('val_miou'):.4f})"
        if best.name == comparison.base:
            self.sentences.append(f"{chosen}: no other arm is better than {best.name} there.")
        else:
            level = 1 - 0.05 / others
            difference = comparison.difference(best.name, level=level)
            self.answers["best"] = answer_of(difference)
            self.sentences.append(f"{chosen}; on {comparison.part} {_plainly(difference, comparison.base)}.")
            if others > 1:
                self.sentences.append(
                    "Picking the best of several arms flatters it, so that interval is Bonferroni's: 95 % for "
                    f"{others} comparisons with {comparison.base} together."
                )
        highest = max(comparison.arms, key=lambda arm: arm.spread().mean)
        if comparison.part == "test" and highest.name != best.name:
            self.sentences.append(
                f"The highest score on test is that of {highest.name} ({highest.spread().mean:.4f}); "
                "who picks by test scores flatters the pick."
            )

    def student(self) -> None:
        """Has the best student that has a teacher reached it?"""
        taught = [arm for arm in self.comparison.arms if arm.teacher]
        if not taught:
            return
        best = max(taught, key=lambda arm: arm.mean("val_miou"))
        difference = self.comparison.difference_to_teacher(best.name)
        if difference is None:
            return
        self.answers["student"] = answer = answer_of(difference)
        who = f"arm {best.name}, the best on validation of those with a teacher"
        if answer == "unclear":
            self.sentences.append(
                f"Whether the student reaches its teacher ({who}) cannot be told: {_open(difference)}."
            )
        else:
            side = "above" if answer == "helped" else "below"
            self.sentences.append(f"The student ({who}) is {side} its teacher, by {_amount(difference)}.")

    def stability(self) -> None:
        """How much the seeds differ, and whether that means anything."""
        comparison = self.comparison
        spreads = {arm.name: arm.spread() for arm in comparison.arms}
        fewest = min(len(spread.values) for spread in spreads.values())
        if fewest < 2:
            self.sentences.append("Stability is not known: it takes at least two seeds of each arm.")
            return
        each = ", ".join(f"{name} {spread.deviation:.4f}" for name, spread in spreads.items())
        self.sentences.append(
            f"Standard deviation over seeds: {each}. With {fewest} seeds, one arm is steadier than another only where "
            f"these differ more than {ratio_needed(fewest):.1f}-fold."
        )

    def time(self) -> None:
        """Is the time, or the number of steps, a reason for a difference?"""
        if self.comparison.budget == "seconds":
            self._seconds()
        else:
            self._steps()

    def _steps(self) -> None:
        """Did an arm make other steps than the base, not by patience, but because its epochs have other ones?"""
        base = self.comparison.arm(self.comparison.base)

        def apart(arm: ArmResult) -> bool:
            share = arm.mean("steps") / base.mean("steps")
            by_epoch = share * base.mean("epochs") / arm.mean("epochs")
            return abs(share - 1) > MOST_APART and abs(by_epoch - 1) > MOST_APART

        told = [arm for arm in self.comparison.arms if apart(arm)]
        if told:
            each = ", ".join(f"{arm.name} {arm.mean('steps'):.0f}" for arm in (*told, base))
            self.sentences.append(
                f"Steps are not equal here: {each}, as their epochs differ in images or in batches. A difference may "
                "come from the length of training alone; --budget seconds (with another --run-name) compares at equal "
                "time."
            )

    def _seconds(self) -> None:
        """Did the runs keep to the base's?"""
        comparison = self.comparison
        taken = {arm.name: sum(run.seconds_curve[-1] for run in arm.runs) / len(arm.runs) for arm in comparison.arms}
        whole = taken.pop(comparison.base)
        apart = {name: seconds / whole - 1 for name, seconds in taken.items() if whole}
        missed = {name: share for name, share in apart.items() if abs(share) > MOST_APART}
        if missed:
            each = ", ".join(f"{name} took {100 * share:+.0f} %" for name, share in missed.items())
            least = [name for name, share in missed.items() if share > 0 and comparison.arm(name).mean("epochs") == 1]
            if len(least) == len(missed):
                why = "One epoch is the least a run can have; give the base more epochs."
            else:
                why = "Epochs were chosen by a prediction, and a machine that is busy with other things spoils it."
            self.sentences.append(
                f"Equal seconds were wanted and missed: {each} of the training time of {comparison.base}. {why}"
            )


def _title(arm: ArmResult) -> str:
    if has_schedule(arm):
        return f"The schedule (arm {arm.name})"
    return f"Distillation (arm {arm.name})" if arm.teacher else f"Arm {arm.name}"


def _against(name: str, base: str, difference: Difference | None) -> str:
    answer = answer_of(difference)
    if difference is None:
        return f"{name} and {base} share no seed, so they cannot be compared."
    if answer == "unclear":
        return f"{name} against {base}: whether it helped cannot be told; {_open(difference)}; {_need(difference)}."
    return f"{name} {answer} against {base}, by {_amount(difference)}."


def _amount(difference: Difference) -> str:
    """Size and interval where the direction was said: both as positive numbers."""
    sign = -1 if difference.estimate < 0 else 1
    ends = sorted([sign * difference.low, sign * difference.high])
    return (
        f"{abs(difference.estimate):.4f} mIoU{_relative(difference)} "
        f"({100 * difference.level:.4g} % interval {ends[0]:.4f} to {ends[1]:.4f})"
    )


def _open(difference: Difference) -> str:
    """Size and interval where the direction is not known."""
    size = f"the difference is {difference.estimate:+.4f} mIoU{_relative(difference)}"
    if difference.seeds < 2:
        return f"{size} ({_interval(difference)}), and one seed says nothing about the next"
    if math.isnan(difference.low):
        return f"{size}, and {_interval(difference)}"
    return f"{size}, and the {_interval(difference)} holds 0"


def _plainly(difference: Difference | None, base: str) -> str:
    if difference is None:
        return f"it shares no seed with {base}"
    size = f"its difference to {base} is {difference.estimate:+.4f} mIoU{_relative(difference)}"
    return f"{size} ({_interval(difference)})"


def _interval(difference: Difference) -> str:
    if math.isnan(difference.low):
        return "one image has no interval"
    alone = " of the images alone" if difference.seeds < 2 else ""
    return f"{100 * difference.level:.4g} % interval{alone} {difference.low:.4f} to {difference.high:.4f}"


def _need(difference: Difference) -> str:
    """What it would take to see a difference of this size, in four of five comparisons."""
    if difference.seeds < 2:
        return "train at least three seeds"
    if difference.estimate == 0:
        return "there is no difference to look for"
    if math.isnan(difference.low):
        return "score more images"
    seeds = seeds_needed(difference)
    if seeds is not None:
        return f"about {seeds} seeds would be needed to see a difference of this size"
    return (
        f"no number of seeds would show a difference of this size on {_number(difference.images, 'image')}: "
        f"it takes about {images_needed(difference)} images, and more seeds too"
    )


def _relative(difference: Difference) -> str:
    return "" if math.isnan(difference.relative) else f", {100 * difference.relative:+.1f} %"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
