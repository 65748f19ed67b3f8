"""What is said of a comparison, and what is not said for want of evidence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_comparisons import arm, compare, run, teacher

from snowmelt.study import Answer, Verdict, verdict_of
from snowmelt.study.comparison import score_of

PLAIN = arm("plain", [0.700, 0.702, 0.704])
LIKE_PLAIN = arm("cooled+thaw", [0.702, 0.704, 0.700])
BETTER = arm("cooled+thaw", [0.800, 0.802, 0.804])
WORSE = arm("cooled+thaw", [0.600, 0.602, 0.604])


def said_by(*arms: Any, **values: Any) -> Verdict:
    return verdict_of(compare(*arms, **values))


@pytest.mark.parametrize(
    ("arm", "answer", "said"),
    [
        (BETTER, "helped", "The schedule (arm cooled+thaw) helped against plain, by 0."),
        (WORSE, "hurt", "The schedule (arm cooled+thaw) hurt against plain, by 0."),
        (LIKE_PLAIN, "unclear", "The schedule (arm cooled+thaw) against plain: whether it helped cannot be told;"),
    ],
)
def test_the_schedule_helped_or_hurt_or_cannot_be_told(arm: Any, answer: Answer, said: str) -> None:
    verdict = said_by(PLAIN, arm)
    assert verdict.helped == answer == verdict.answers["cooled+thaw"]
    assert verdict.sentences[0].startswith(said)


def test_sizes_are_named_with_their_interval() -> None:
    comparison = compare(PLAIN, WORSE)
    found = comparison.differences["cooled+thaw"]
    assert found is not None and found.estimate < 0
    first = comparison.verdict.sentences[0]
    assert f"by {-found.estimate:.4f} mIoU, {100 * found.relative:+.1f} %" in first
    assert f"(95 % interval {-found.high:.4f} to {-found.low:.4f})." in first
    unclear = compare(PLAIN, LIKE_PLAIN)
    found = unclear.differences["cooled+thaw"]
    assert found is not None
    assert f"the difference is {found.estimate:+.4f} mIoU" in unclear.verdict.sentences[0]
    assert f"the 95 % interval {found.low:.4f} to {found.high:.4f} holds 0; " in unclear.verdict.sentences[0]


def test_what_cannot_be_told_says_what_it_would_take() -> None:
    noisy = arm("cooled+thaw", [0.69, 0.72, 0.75])
    assert "seeds would be needed to see a difference of this size." in said_by(PLAIN, noisy).sentences[0]
    tiny = replace(PLAIN, name="kd", runs=tuple(replace(each, matrices=each.matrices.copy()) for each in PLAIN.runs))
    for each in tiny.runs:
        each.matrices[0, 0, 0] += 900
        each.matrices[1, 0, 1] += 880
    assert (
        "no number of seeds would show a difference of this size on 30 images: it takes about"
        in (said_by(PLAIN, tiny).sentences[0])
    )
    same = replace(PLAIN, name="kd")
    assert "there is no difference to look for" in said_by(PLAIN, same).sentences[0]


@pytest.mark.parametrize("right", [0.5, 0.7, 0.95])
def test_one_seed_never_helps_and_never_hurts(right: float) -> None:
    verdict = said_by(arm("plain", [0.7]), arm("cooled+thaw", [right]), teacher=teacher(0.99))
    assert verdict.helped == "unclear" and set(verdict.answers.values()) == {"unclear"}
    text = " ".join(verdict.sentences)
    assert "helped against" not in text and "hurt against" not in text
    assert "train at least three seeds" in text and "one seed says nothing about the next" in text
    assert "Stability is not known" in text


@pytest.mark.parametrize(
    ("right", "answer", "said"),
    [
        (0.9, "helped", "The teacher is better than plain, by 0."),
        (0.5, "hurt", "The teacher is worse than plain, by 0."),
        (0.702, "unclear", "It cannot be told that the teacher is better than plain: the difference is "),
    ],
)
def test_the_teacher_comes_first(right: float, answer: Answer, said: str) -> None:
    verdict = said_by(PLAIN, BETTER, teacher=teacher(right))
    assert verdict.answers["teacher"] == answer
    assert verdict.sentences[0].startswith(said)
    assert ("distillation has little to give here" in verdict.sentences[0]) == (answer != "helped")
    assert "schedule" in verdict.sentences[1]


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (0.9, "there is more to learn"),
        (0.5, ", which learnt from it."),
        (0.702, "better than kd, which learnt from it: "),
    ],
)
def test_a_base_that_has_a_teacher_is_no_measure_of_what_distillation_gives(right: float, said: str) -> None:
    verdict = said_by(arm("kd", [0.700, 0.702, 0.704]), BETTER, teacher=teacher(right))
    assert said in verdict.sentences[0] and "little to give" not in verdict.sentences[0]


@pytest.mark.parametrize(
    ("right", "answer", "said"),
    [
        (0.9, "hurt", "The student ({who}) is below its teacher, by 0.0"),
        (0.7, "helped", "The student ({who}) is above its teacher, by 0.1"),
        (0.842, "unclear", "Whether the student reaches its teacher ({who}) cannot be told: the difference is "),
    ],
)
def test_the_best_student_is_held_against_its_teacher(right: float, answer: Answer, said: str) -> None:
    best_alone = arm("plain", [0.900, 0.902, 0.904])  # has no teacher that it could reach
    comparison = compare(best_alone, arm("kd", [0.840, 0.842, 0.844]), BETTER, teacher=teacher(right))
    verdict = comparison.verdict
    assert verdict.answers["student"] == answer
    said = said.format(who="arm kd, the best on validation of those with a teacher")
    assert any(sentence.startswith(said) for sentence in verdict.sentences)
    found = comparison.difference_to_teacher("kd")
    assert found is not None
    assert found.estimate == pytest.approx(comparison.arm("kd").spread().mean - score_of(teacher(right).matrices))
    assert any(f"{abs(found.estimate):.4f} mIoU" in sentence for sentence in verdict.sentences)
    assert comparison.to_dict()["to_teacher"].keys() == {"kd", "cooled+thaw"}
    assert comparison.to_dict()["to_teacher"]["kd"]["low"] == found.low


def test_no_student_is_held_against_a_teacher_that_is_not_there() -> None:
    for comparison in (compare(PLAIN, BETTER), compare(PLAIN, BETTER, teacher=teacher(0.9, matrices=None))):
        assert "student" not in comparison.verdict.answers
        assert not any("its teacher" in sentence for sentence in comparison.verdict.sentences)
    assert "student" not in said_by(PLAIN, arm("thaw", [0.7, 0.71]), teacher=teacher(0.9)).answers


def test_a_teacher_without_a_score_is_not_judged() -> None:
    verdict = said_by(PLAIN, BETTER, teacher=teacher(0.9, matrices=None))
    assert "was not scored" in verdict.sentences[0] and "teacher" not in verdict.answers
    assert "teacher" not in " ".join(said_by(PLAIN, BETTER).sentences)


def test_the_schedule_is_compared_with_distillation_too() -> None:
    verdict = said_by(PLAIN, arm("kd", [0.85, 0.852, 0.854]), BETTER)
    assert (verdict.answers["cooled+thaw"], verdict.answers["kd"]) == ("helped", "hurt")
    assert verdict.sentences[1].startswith("The schedule (arm cooled+thaw) hurt against kd (constant temperature), by")
    assert "kd" not in said_by(arm("kd", [0.7, 0.71]), BETTER).answers  # it is the base


@pytest.mark.parametrize(
    ("arms", "subject"),
    [
        ((PLAIN, BETTER, arm("late", [0.7, 0.7], teacher=True, schedule=True)), "The schedule (arm cooled+thaw)"),
        (
            (PLAIN, arm("late", [0.7, 0.7], teacher=True, schedule=True), arm("kd", [0.7, 0.71])),
            "The schedule (arm late)",
        ),
        ((PLAIN, arm("thaw+cooled", [0.7, 0.71]), arm("kd", [0.7, 0.71])), "The schedule (arm thaw+cooled)"),
        ((PLAIN, arm("kd", [0.7, 0.71]), arm("thaw", [0.7, 0.71])), "Distillation (arm kd)"),
        ((PLAIN, arm("thaw", [0.7, 0.71]), arm("x", [0.7, 0.71])), "Arm x"),
    ],
)
def test_a_comparison_is_about_the_arm_with_both_schedules(arms: Any, subject: str) -> None:
    assert said_by(*arms).sentences[0].startswith(subject)


def test_the_best_arm_is_chosen_on_validation_and_its_interval_pays_for_the_choice() -> None:
    comparison = compare(PLAIN, arm("kd", [0.75, 0.752, 0.748]), BETTER)
    level = comparison.difference("cooled+thaw", level=0.975)
    assert level is not None and level.level == 0.975
    sentence = next(each for each in comparison.verdict.sentences if "best of 3 arms on validation" in each)
    assert sentence.startswith(
        "cooled+thaw is the best of 3 arms on validation (0.8020); on test its difference to plain"
    )
    assert f"(97.5 % interval {level.low:.4f} to {level.high:.4f})" in sentence
    text = " ".join(comparison.verdict.sentences)
    assert "Bonferroni's: 95 % for 2 comparisons with plain together" in text
    assert "Bonferroni" not in " ".join(said_by(PLAIN, BETTER).sentences)
    assert comparison.verdict.answers["best"] == "helped"


def test_the_highest_on_test_is_named_but_not_picked() -> None:
    lucky = replace(BETTER, runs=tuple(replace(each, val_miou=0.1) for each in BETTER.runs))
    text = " ".join(said_by(PLAIN, lucky).sentences)
    assert "plain is the best of 2 arms on validation (0.7020): no other arm is better than plain there." in text
    assert "The highest score on test is that of cooled+thaw" in text and "flatters the pick" in text
    assert "The highest score" not in " ".join(said_by(PLAIN, BETTER).sentences)


def test_scores_of_validation_are_called_flattered() -> None:
    assert "flattered; for a claim, score a test part." in said_by(PLAIN, BETTER, part="val").sentences[-1]
    assert "highest score" not in " ".join(said_by(PLAIN, BETTER, part="val").sentences)


def test_spreads_are_named_with_what_they_would_have_to_be() -> None:
    last = said_by(PLAIN, BETTER).sentences[-1]
    assert last.startswith("Standard deviation over seeds: plain 0.00") and "cooled+thaw 0.00" in last
    assert "With 3 seeds" in last and "more than 6.2-fold" in last


def test_arms_without_a_common_seed_or_a_second_image_are_not_judged() -> None:
    apart = replace(BETTER, runs=(run(8, 0.8), run(9, 0.8)))
    verdict = said_by(PLAIN, apart)
    assert "share no seed" in verdict.sentences[0] and verdict.helped == "unclear"
    single = [
        replace(each, runs=tuple(replace(one, matrices=one.matrices[:1]) for one in each.runs))
        for each in (PLAIN, BETTER)
    ]
    verdict = said_by(*single)
    assert "one image has no interval" in verdict.sentences[0] and verdict.helped == "unclear"
    assert "score more images" in verdict.sentences[0] and "no difference to look for" not in verdict.sentences[0]
    assert "nan" not in " ".join(verdict.sentences)


def test_a_single_arm_has_nothing_to_say_but_its_spread() -> None:
    verdict = said_by(PLAIN)
    assert len(verdict.sentences) == 1 and verdict.answers == {} and verdict.helped == "unclear"


@pytest.mark.parametrize(
    ("seconds", "said"), [(32.9, None), (33.1, "cooled took +10 %"), (27.1, None), (24.0, "cooled took -20 %")]
)
def test_equal_seconds_that_were_missed_are_told(seconds: float, said: str | None) -> None:
    plain = arm("plain", [0.7, 0.71])
    runs = tuple(run(seed, 0.7, seconds_curve=(10.0, 20.0, seconds)) for seed in range(2))
    cooled = arm("cooled", [0.7, 0.71], runs=runs)
    told = [each for each in compare(plain, cooled, budget="seconds").verdict.sentences if "Equal seconds" in each]
    assert len(told) == (said is not None)
    assert said is None or said in told[0]
    assert not [each for each in compare(plain, cooled).verdict.sentences if "Equal seconds" in each]


def test_a_single_epoch_that_is_too_long_is_no_fault_of_the_machine() -> None:
    runs = tuple(run(seed, 0.7, epochs=1, seconds_curve=(61.0,), val_curve=(0.7,)) for seed in range(2))
    plain, cooled = arm("plain", [0.7, 0.71]), arm("cooled", [0.7, 0.71], runs=runs)
    [told] = [each for each in compare(plain, cooled, budget="seconds").verdict.sentences if "Equal seconds" in each]
    assert "cooled took +103 %" in told and "One epoch is the least" in told and "busy" not in told


@pytest.mark.parametrize(
    ("steps", "epochs", "told"),
    [(32, 3, False), (100, 3, True), (10, 1, False), (10, 3, True), (32, 1, False), (100, 2, True)],
)
def test_unequal_steps_are_told(steps: int, epochs: int, told: bool) -> None:
    """Fewer epochs, as patience has them, are no such thing, nor are epochs that were chosen for equal steps."""
    runs = tuple(run(seed, 0.7, steps=steps, epochs=epochs) for seed in range(2))
    plain, cooled = arm("plain", [0.7, 0.71]), arm("cooled", [0.7, 0.71], runs=runs)
    said = [each for each in compare(plain, cooled).verdict.sentences if "Steps are not equal" in each]
    assert len(said) == told
    assert not told or f"here: cooled {steps}, plain 30, as" in said[0]
    assert not [each for each in compare(plain, cooled, budget="seconds").verdict.sentences if "not equal" in each]
