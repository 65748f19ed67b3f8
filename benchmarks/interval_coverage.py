"""Does the interval of `snowmelt compare` hold what it says? Two arms of equal worth, compared again and again.

    python benchmarks/interval_coverage.py             about half an hour on one core
    python benchmarks/interval_coverage.py --comparisons 100 --cases mixed     a quick look

Confusion matrices of seven classes are made up: images of 128 x 128 pixels that are easy or hard, one class that is in
6 % of them, and a deviation, in logits of the share of right pixels, by seed, by image and arm, and by image and seed.
Both arms have the same law, so the true difference is 0, and a 95 % interval should hold 0 in 95 of 100 comparisons.

    covers   share of the intervals that hold 0
    width    their mean half-width, over 1.96 true standard deviations of the difference: what it would be with the
             truth known. Student's t alone asks for 6.5 (two seeds, if only seeds matter), 2.2 (three), 1.4 (five)
    plain    the same two for the plain percentile bootstrap over images and seeds, for contrast
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, machine, table, write_json

from snowmelt.study import mean_iou_of, paired_difference

SHARES = np.array([0.55, 0.15, 0.1, 0.08, 0.06, 0.04, 0.02])  # of the pixels, where the class is there
THERE = np.array([1, 0.95, 0.9, 0.7, 0.5, 0.3, 0.06])  # share of the images that have it
EASE = np.array([4, 2.5, 2, 2, 1.5, 1.5, 1.0])  # logit of the share of its pixels that are right
PIXELS = 128 * 128
CASES = {
    "seeds decide": (0.3, 0.05, 0.1),
    "images decide": (0.01, 0.5, 0.1),
    "mixed": (0.1, 0.3, 0.3),
    "image and seed": (0.0, 0.0, 0.5),
}
"""Deviations by seed, by image (the same for all seeds of an arm), and by image and seed."""


def main() -> None:
    arguments = parse()
    rows = []
    for case in arguments.cases:
        for seeds in arguments.seeds:
            for images in arguments.images:
                rows.append({"case": case, "seeds": seeds, "images": images, **measure(case, seeds, images, arguments)})
    shown = table(list(rows[0]), [list(row.values()) for row in rows])
    print(f"{describe(machine())}\n\n{arguments.comparisons} comparisons a row\n\n{shown}")
    if arguments.json:
        write_json(arguments.json, {"machine": machine(), "comparisons": arguments.comparisons, "rows": rows})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[2, 3, 5])
    parser.add_argument("--images", type=int, nargs="+", default=[50, 200])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def measure(case: str, seeds: int, images: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Coverage and width of both intervals."""
    generator = np.random.default_rng([seeds, images, list(CASES).index(case)])
    found: list[Any] = []
    plain: list[tuple[float, float]] = []
    for number in range(arguments.comparisons):
        arm, base = made_up(generator, seeds, images, CASES[case])
        found.append(paired_difference(arm, base, resamples=arguments.resamples, seed=number))
        plain.append(percentiles(generator, arm, base, arguments.resamples))
    truth = 1.96 * float(np.std([each.estimate for each in found]))
    return {
        "covers": float(np.mean([each.low <= 0 <= each.high for each in found])),
        "width": float(np.mean([(each.high - each.low) / 2 for each in found])) / truth,
        "plain covers": float(np.mean([low <= 0 <= high for low, high in plain])),
        "plain width": float(np.mean([(high - low) / 2 for low, high in plain])) / truth,
    }


def made_up(
    generator: np.random.Generator, seeds: int, images: int, deviations: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of two arms, (seeds, images, 7, 7) each, whose true difference is 0."""
    by_seed, by_image, by_both = deviations
    classes = len(SHARES)
    sizes = generator.gamma(2.0, SHARES, (images, classes)) * (generator.random((images, classes)) < THERE)
    sizes *= PIXELS / sizes.sum(1, keepdims=True)
    logits = (
        EASE
        + generator.normal(0, 0.8, (images, 1))
        + generator.normal(0, by_seed, (2, seeds, 1, classes))
        + generator.normal(0, by_image, (2, 1, images, classes))
        + generator.normal(0, by_both, (2, seeds, images, classes))
    )
    right = sizes / (1 + np.exp(-logits))
    wrong = sizes - right
    matrices = np.zeros((2, seeds, images, classes, classes))
    for each in range(classes):
        matrices[..., each, each] += right[..., each]
        matrices[..., each, 1 if each == 0 else 0] += 0.6 * wrong[..., each]
        matrices[..., each, 2 if each == 0 else (each + 1) % classes] += 0.4 * wrong[..., each]
    arm, base = np.rint(matrices).astype(np.int64)
    return arm, base


def percentiles(
    generator: np.random.Generator, arm: np.ndarray, base: np.ndarray, resamples: int
) -> tuple[float, float]:
    """The plain interval: images and seeds are both drawn again, and the middle 95 % are kept."""
    seeds, images = arm.shape[:2]
    drawn = generator.integers(0, images, (resamples, images))
    weights = np.stack([np.bincount(each, minlength=images) for each in drawn])
    sums = [np.einsum("bi,sicd->bscd", weights, each, optimize=True) for each in (arm, base)]
    differences = mean_iou_of(sums[0]) - mean_iou_of(sums[1])
    chosen = generator.integers(0, seeds, (resamples, seeds))
    low, high = np.percentile(np.take_along_axis(differences, chosen, 1).mean(1), [2.5, 97.5])
    return float(low), float(high)


if __name__ == "__main__":
    main()
