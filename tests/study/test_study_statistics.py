"""Scores and differences against closed forms, a loop that does the same, and a simulation of coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made_comparisons import matrices

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import ConfusionMatrix
from snowmelt.study import iou_of, mean_iou_of, paired_difference, spread_of
from snowmelt.study.students_t import sum_half_width, t_quantile

TWO = np.array([[2, 1], [1, 4]])  # IoU 2/4 and 4/6


def stack(*rights: float, images: int = 30, noise: float = 0.02) -> np.ndarray:
    return np.stack([matrices(right, images, seed, noise) for seed, right in enumerate(rights)])


def test_a_mean_iou_by_hand() -> None:
    assert mean_iou_of(TWO) == pytest.approx((2 / 4 + 4 / 6) / 2, abs=1e-15)
    np.testing.assert_allclose(iou_of(TWO), [2 / 4, 4 / 6])


def test_absent_classes_do_not_count_and_wrongly_predicted_ones_do() -> None:
    absent = np.pad(TWO, ((0, 1), (0, 1)))
    assert mean_iou_of(absent) == mean_iou_of(TWO)
    assert np.isnan(iou_of(absent)[2])
    predicted = absent.copy()
    predicted[0, 2] = 3  # never there, but said three times
    assert mean_iou_of(predicted) == pytest.approx((2 / 7 + 4 / 6 + 0) / 3)
    missed = absent.copy()
    missed[2, 0] = 3
    assert mean_iou_of(missed) == pytest.approx((2 / 7 + 4 / 6 + 0) / 3)


def test_nothing_counted_has_no_score() -> None:
    both = mean_iou_of(np.stack([np.zeros((2, 2), int), TWO]))
    assert np.isnan(both[0]) and both[1] == mean_iou_of(TWO)


def test_scores_are_those_of_the_confusion_matrix() -> None:
    generator = np.random.default_rng(0)
    many = generator.integers(0, 50, (2, 3, 5, 5)) * (generator.random((2, 3, 5, 5)) < 0.4)
    many[0, 0, 1], many[0, 0, :, 1] = 0, 0
    confusion = ConfusionMatrix(5)
    for index in np.ndindex(2, 3):
        confusion.matrix = torch.from_numpy(many[index])
        assert mean_iou_of(many)[index] == pytest.approx(confusion.mean_iou(), abs=1e-15)
        np.testing.assert_allclose(iou_of(many)[index], confusion.iou(), atol=1e-15)


def test_a_seed_has_one_score_of_all_its_images_and_no_mean_of_scores() -> None:
    images = np.array([[[9, 1], [0, 0]], [[0, 0], [1, 1]]])  # IoU 9/10 and 0; then 0 and 1/2
    summed = (9 / 11 + 1 / 3) / 2
    spread = spread_of(images[None])
    assert spread.mean == pytest.approx(summed) and spread.values == (spread.mean,)
    assert math.isnan(spread.deviation)
    assert spread.mean != pytest.approx(mean_iou_of(images).mean())


def test_the_spread_divides_by_one_less() -> None:
    spread = spread_of(stack(0.7, 0.8, 0.9))
    assert spread.mean == pytest.approx(sum(spread.values) / 3)
    assert spread.deviation == pytest.approx(math.sqrt(sum((v - spread.mean) ** 2 for v in spread.values) / 2))


def test_arms_that_are_the_same_differ_by_exactly_nothing() -> None:
    same = paired_difference(stack(0.7, 0.8), stack(0.7, 0.8))
    assert (same.estimate, same.low, same.high, same.seed_se, same.image_se, same.relative) == (0, 0, 0, 0, 0, 0)


def test_the_estimate_is_the_mean_over_seeds() -> None:
    arm, base = stack(0.8, 0.82, 0.81), stack(0.7, 0.75, 0.73)
    difference = paired_difference(arm, base)
    by_seed = np.array(spread_of(arm).values) - np.array(spread_of(base).values)
    assert difference.estimate == pytest.approx(by_seed.mean(), abs=1e-15)
    assert difference.seed_se == pytest.approx(by_seed.std(ddof=1) / math.sqrt(3), rel=1e-12)
    assert difference.relative == pytest.approx(by_seed.mean() / spread_of(base).mean)
    assert (difference.seeds, difference.images, difference.level) == (3, 30, 0.95)
    assert difference.low < difference.estimate < difference.high


def test_arm_against_base_is_the_opposite_of_base_against_arm() -> None:
    first = paired_difference(stack(0.8, 0.7), stack(0.7, 0.72))
    second = paired_difference(stack(0.7, 0.72), stack(0.8, 0.7))
    assert (first.estimate, first.low, first.high) == (-second.estimate, -second.high, -second.low)
    assert (first.seed_se, first.image_se) == (second.seed_se, second.image_se)


def test_the_order_of_the_seeds_says_nothing() -> None:
    arm, base = stack(0.8, 0.7, 0.75), stack(0.7, 0.72, 0.71)
    first, second = paired_difference(arm, base), paired_difference(arm[[2, 0, 1]], base[[2, 0, 1]])
    for name in ("estimate", "low", "high", "seed_se", "image_se", "relative"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-9)


def test_pairs_matter() -> None:
    """What a seed does to both arms alike is no uncertainty of their difference."""
    arm, base = stack(0.8, 0.6, 0.7, noise=0), stack(0.78, 0.58, 0.68, noise=0)
    paired, shuffled = paired_difference(arm, base), paired_difference(arm, base[[1, 2, 0]])
    assert paired.seed_se < shuffled.seed_se / 10


def test_the_images_error_is_that_of_a_plain_loop() -> None:
    arm, base = stack(0.8, 0.75, images=12), stack(0.7, 0.72, images=12)
    generator = np.random.default_rng(5)
    found = []
    for _ in range(300):
        often = generator.multinomial(12, np.full(12, 1 / 12))
        drawn = [image for image in range(12) for _ in range(often[image])]
        scores = [
            [float(mean_iou_of(sum(matrices[image] for image in drawn))) for matrices in each] for each in (arm, base)
        ]
        found.append(np.mean([first - second for first, second in zip(*scores, strict=True)]))
    expected = math.sqrt(np.var(found, ddof=1) * 12 / 11)
    assert paired_difference(arm, base, resamples=300, seed=5).image_se == pytest.approx(expected, rel=1e-9)


def test_more_draws_than_fit_at_a_time_are_the_same_draws() -> None:
    arm, base = stack(0.8, 0.75), stack(0.7, 0.72)
    many = [paired_difference(arm, base, resamples=count).image_se for count in (256, 257, 2000)]
    assert many[0] == pytest.approx(many[2], rel=0.15) and many[0] != many[1] != many[2]
    assert paired_difference(arm, base) == paired_difference(arm, base)
    assert paired_difference(arm, base, seed=1).image_se != many[2]


def numeric_freedom(arm: np.ndarray, base: np.ndarray) -> float:
    """Degrees of freedom from influences found by leaning a little on each image's weight."""
    step, slopes = 1e-5, []
    for image in range(arm.shape[1]):
        weights = np.ones(arm.shape[1])
        weights[image] += step
        leaned = [mean_iou_of(np.einsum("i,sicd->scd", weights, each) * 1e6) for each in (arm, base)]
        plain = [mean_iou_of(each.sum(1)) for each in (arm, base)]
        slopes.append(np.mean((leaned[0] - plain[0]) - (leaned[1] - plain[1])) / step)
    squares = np.array(slopes) ** 2
    return float(2 * squares.sum() ** 2 / ((squares**2).sum() - squares.sum() ** 2 / len(squares)))


def test_few_images_that_decide_make_the_interval_wider() -> None:
    arm, base = stack(0.8, 0.8)[[0, 0]], stack(0.7, 0.7)[[0, 0]]  # the same seed twice: nothing varies with it
    even = paired_difference(arm, base)
    assert even.seed_se == 0
    ratio = (even.high - even.low) / 2 / even.image_se
    assert ratio == pytest.approx(t_quantile(0.975, min(numeric_freedom(arm, base), 29)), rel=1e-4)
    heavy = arm.copy()
    heavy[:, 0] = base[:, 0] = 40 * base[:, 0]
    heavy[:, 0, 0, 0] += 20 * heavy[:, 0, 0, 1]
    decided = paired_difference(heavy, base)
    assert numeric_freedom(heavy, base) < 5
    expected = t_quantile(0.975, max(numeric_freedom(heavy, base), 1))
    assert (decided.high - decided.low) / 2 / decided.image_se == pytest.approx(expected, rel=1e-4)


def test_one_seed_leaves_the_images_alone() -> None:
    one = paired_difference(stack(0.8), stack(0.7))
    assert math.isnan(one.seed_se) and one.seeds == 1
    assert one.high - one.estimate == pytest.approx(t_quantile(0.975, 29) * one.image_se, rel=0.1)


def test_both_parts_widen_the_interval() -> None:
    difference = paired_difference(stack(0.8, 0.75, 0.79), stack(0.7, 0.72, 0.75), level=0.9)
    half = (difference.high - difference.low) / 2
    assert half == pytest.approx(sum_half_width(0.9, [(difference.seed_se, 2), (difference.image_se, 25)]), rel=0.02)
    assert half > t_quantile(0.95, 2) * difference.seed_se


def test_one_image_cannot_be_drawn_again() -> None:
    one = paired_difference(stack(0.8, 0.7, images=1), stack(0.7, 0.6, images=1))
    assert math.isnan(one.low) and math.isnan(one.high) and math.isnan(one.image_se)
    assert one.estimate > 0


def test_an_image_without_a_counted_pixel_changes_no_score() -> None:
    arm, base = stack(0.8, 0.75), stack(0.7, 0.72)
    blank = [np.concatenate([each, np.zeros_like(each[:, :1])], axis=1) for each in (arm, base)]
    assert paired_difference(*blank).estimate == paired_difference(arm, base).estimate


def test_draws_of_blank_images_alone_are_left_out() -> None:
    arm, base = stack(0.8, 0.75, images=3), stack(0.7, 0.72, images=3)
    arm[:, 1:], base[:, 1:] = 0, 0  # 8 of 27 draws have no other
    found = paired_difference(arm, base)
    assert found.image_se == pytest.approx(0, abs=1e-12) and found.low < found.estimate < found.high


@pytest.mark.parametrize(
    ("arm", "base", "options", "said"),
    [
        (stack(0.8), stack(0.8, 0.7), {}, "cannot be paired"),
        (stack(0.8)[0], stack(0.8)[0], {}, r"expected \(seeds, images, classes, classes\)"),
        (stack(0.8)[..., :2], stack(0.8)[..., :2], {}, "expected"),
        (stack(0.8)[:, :0], stack(0.8)[:, :0], {}, "expected"),
        (0 * stack(0.8), stack(0.8), {}, "no pixel"),
        (stack(0.8), stack(0.8), {"level": 1.0}, "level is 1.0"),
        (stack(0.8), stack(0.8), {"resamples": 1}, "resamples is 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    arm: np.ndarray, base: np.ndarray, options: dict[str, float], said: str
) -> None:
    with pytest.raises(SnowmeltError, match=said) as caught:
        paired_difference(arm, base, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("seeds", "by_seed", "noise"), [(2, 0.02, 0.05), (3, 0.03, 0.01), (5, 0.0, 0.1)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, by_seed: float, noise: float) -> None:
    """True difference 0. benchmarks/interval_coverage.py does this at length."""
    generator = np.random.default_rng(3)
    held = 0
    for number in range(80):
        rights = 0.8 + generator.normal(0, by_seed, (2, seeds))
        made = [
            np.stack([matrices(right, 40, int(generator.integers(1 << 31)), noise) for right in each])
            for each in rights
        ]
        difference = paired_difference(*made, resamples=100, seed=number)
        held += difference.low <= 0 <= difference.high
    assert held >= 0.93 * 80
