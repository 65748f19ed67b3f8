"""How large a difference of mIoU is, and how sure: test images and seeds are both samples.

The score of a seed is one mIoU of the matrices of all images, added up. What is known of a difference is limited twice:
by the images that happen to be in the test set, and by the seeds that happened to be drawn. Both are estimated apart:

- **images** are drawn again with replacement, the same draw for both arms and all seeds. What the seeds' differences
  have in common over the draws is the variance of the images;
- **seeds** are too few to be drawn again (of three seeds, a ninth of all draws is one seed three times), so the
  variance of the mean comes from the spread of the paired differences, and its few degrees of freedom count.

The interval is that of a sum of two Student's t, one for each part (``snowmelt.study.students_t``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from snowmelt.errors import SnowmeltError
from snowmelt.study.students_t import sum_half_width

CHUNK = 256  # draws at a time: 5000 images make 10 MB of weights


@dataclass(frozen=True)
class Difference:
    """Mean over the seeds of arm minus base, in mIoU, with its interval.

    Attributes:
        low, high: ends of the interval of ``level``; NaN where the images cannot be drawn again, since there is one.
        seeds, images: how many there were.
        seed_se: standard error from the seeds; NaN with one seed, and then the interval is about this one training run.
        image_se: standard error from the images.
        relative: ``estimate`` as a share of the base's mean score.
    """

    estimate: float
    low: float
    high: float
    level: float
    seeds: int
    images: int
    seed_se: float
    image_se: float
    relative: float


@dataclass(frozen=True)
class Spread:
    """Scores of an arm's seeds: mean, standard deviation (n - 1 in the divisor, NaN for one seed), and each."""

    mean: float
    deviation: float
    values: tuple[float, ...]


def mean_iou_of(matrices: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes in truth or prediction: (..., C, C) counts, truth in rows -> (...), NaN if none."""
    hits, unions = _hits_and_unions(np.asarray(matrices))
    return _mean_iou(hits, unions)


def iou_of(matrices: np.ndarray) -> np.ndarray:
    """IoU by class: (..., C, C) counts -> (..., C), NaN for a class in neither truth nor prediction."""
    hits, unions = _hits_and_unions(np.asarray(matrices))
    return np.divide(hits, unions, out=np.full(hits.shape, np.nan), where=unions > 0)


def spread_of(matrices: np.ndarray) -> Spread:
    """The scores of seeds: (S, I, C, C), one confusion matrix for each seed and image."""
    values = mean_iou_of(np.asarray(matrices).sum(1)).tolist()
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return Spread(float(np.mean(values)), deviation, tuple(values))


def paired_difference(
    arm: np.ndarray, base: np.ndarray, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Difference:
    """How much better ``arm`` scores than ``base``.

    Args:
        arm: (S, I, C, C) counts, one confusion matrix for each seed and image.
        base: the same, seed by seed and image by image.
        level: probability that the interval covers the true difference, over other images and other seeds.
        resamples: how often the images are drawn again.
        seed: of the draws.

    Raises:
        SnowmeltError: shapes that differ or are no such counts, or a run in which no pixel counts.
    """
    counts = _checked_counts(arm, base, level, resamples)  # (2, S, I, 2, C)
    seeds, images = counts.shape[1:3]
    scores = _mean_iou(*_split(counts.sum(2)))  # (2, S)
    if np.isnan(scores).any():
        raise SnowmeltError(
            "no pixel of these images has a label that counts, so there is no score to compare", code="mask-empty"
        )
    by_seed = scores[0] - scores[1]
    estimate = float(by_seed.mean())
    base_mean = float(scores[1].mean())
    seed_se = float(by_seed.std(ddof=1) / math.sqrt(seeds)) if seeds > 1 else math.nan
    image_se = _image_error(_redrawn(counts, resamples, seed), images)
    parts = [(seed_se, seeds - 1.0), (image_se, _image_freedom(counts))]
    half = math.nan if math.isnan(image_se) else sum_half_width(level, [part for part in parts if part[1] > 0])
    return Difference(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=level,
        seeds=seeds,
        images=images,
        seed_se=seed_se,
        image_se=image_se,
        relative=estimate / base_mean if base_mean else math.nan,
    )


def _hits_and_unions(matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    matrices = matrices.astype(np.float64)  # exact up to 2^53 pixels
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return hits, matrices.sum(-1) + matrices.sum(-2) - hits


def _split(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return counts[..., 0, :], counts[..., 1, :]


def _mean_iou(hits: np.ndarray, unions: np.ndarray) -> np.ndarray:
    there = unions > 0
    iou = np.divide(hits, unions, out=np.zeros(hits.shape), where=there)
    number = there.sum(-1)
    return np.divide(iou.sum(-1), number, out=np.full(number.shape, np.nan), where=number > 0)


def _checked_counts(arm: np.ndarray, base: np.ndarray, level: float, resamples: int) -> np.ndarray:
    """Hits and unions, all that a mean IoU needs, of (arm, base): (2, S, I, 2, C)."""
    arm, base = np.asarray(arm), np.asarray(base)
    if arm.shape != base.shape:
        raise SnowmeltError(
            f"matrices of shapes {arm.shape} and {base.shape} cannot be paired; score both on the same images "
            "and seeds",
            code="array-shape",
        )
    if arm.ndim != 4 or arm.shape[-1] != arm.shape[-2] or 0 in arm.shape:
        raise SnowmeltError(
            f"matrices have shape {arm.shape}; expected (seeds, images, classes, classes)", code="array-shape"
        )
    if not 0 < level < 1:
        raise SnowmeltError(f"level is {level}; it must lie between 0 and 1, for example 0.95", code="argument-value")
    if resamples < 2:
        raise SnowmeltError(
            f"resamples is {resamples}; a variance needs at least 2, and 2000 are a good number", code="argument-value"
        )
    return np.stack([np.stack(_hits_and_unions(each), axis=-2) for each in (arm, base)])


def _redrawn(counts: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Differences by seed over images drawn with replacement: (B, S). Draws in which nothing counts are left out."""
    both, seeds, images, _, classes = counts.shape
    flat = np.moveaxis(counts, 2, 0).reshape(images, -1)
    generator = np.random.default_rng(seed)
    even = np.full(images, 1 / images)
    parts = []
    for start in range(0, resamples, CHUNK):
        # How often each image is drawn says as much as which were drawn, and makes a sum a product of matrices.
        weights = generator.multinomial(images, even, size=min(CHUNK, resamples - start)).astype(np.float64)
        sums = (weights @ flat).reshape(-1, both, seeds, 2, classes)
        scores = _mean_iou(*_split(sums))
        parts.append(scores[:, 0] - scores[:, 1])
    drawn = np.concatenate(parts)
    return drawn[~np.isnan(drawn).any(1)]


def _image_error(drawn: np.ndarray, images: int) -> float:
    """Standard error that the images leave in the mean over the seeds."""
    if images < 2 or len(drawn) < 2:
        return math.nan
    # Drawn with replacement, the variance comes out too small by (I - 1) / I, as one with n in its divisor does.
    return math.sqrt(float(drawn.mean(1).var(ddof=1)) * images / (images - 1))


def _image_freedom(counts: np.ndarray) -> float:
    """Degrees of freedom of the images' variance, from 1 to I - 1: few where a few images decide.

    A variance estimated from I terms x has 2 (sum x^2)^2 / (sum x^4 - (sum x^2)^2 / I) of them, which is I for normal
    terms. The terms are the influence of each image on the mean difference: the derivative by its weight.
    """
    images = counts.shape[2]
    hits, unions = _split(counts)  # (2, S, I, C)
    whole_hits, whole_unions = hits.sum(2, keepdims=True), unions.sum(2, keepdims=True)
    there = whole_unions > 0
    safe = np.where(there, whole_unions, 1)
    slopes = np.where(there, hits / safe - unions / safe * (whole_hits / safe), 0).sum(-1) / there.sum(-1)  # (2, S, I)
    squares = (slopes[0] - slopes[1]).mean(0) ** 2
    second, fourth = float(squares.sum()), float((squares**2).sum())
    excess = fourth - second**2 / images
    if excess <= 1e-12 * second**2:
        return float(max(images - 1, 1))
    return float(min(max(2 * second**2 / excess, 1), max(images - 1, 1)))
