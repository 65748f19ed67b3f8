"""Scores by class that one confusion matrix tells: IoU, Dice, precision, recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class ClassScores:
    """Each (C,) float64, a fraction, NaN where it has no meaning.

    ``iou`` and ``dice`` have none for a class that is in neither truth nor prediction; ``precision`` none for a class
    that was never predicted, ``recall`` none for a class that is not in the truth.
    """

    iou: np.ndarray
    dice: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    @property
    def miou(self) -> float:
        return mean_of(self.iou)

    @property
    def mean_dice(self) -> float:
        return mean_of(self.dice)


def class_scores(matrix: np.ndarray) -> ClassScores:
    """Scores from counts (C, C) whose rows are the truth."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise SnowmeltError(f"a confusion matrix of shape {matrix.shape} is not square", code="array-shape")
    return scores_of_counts(matrix.diagonal(), matrix.sum(0), matrix.sum(1))


def scores_of_counts(hits: np.ndarray, predicted: np.ndarray, truth: np.ndarray) -> ClassScores:
    """The same from pixels by class, each (..., C): right ones, predicted ones, true ones; scores have that shape."""
    hits, predicted, truth = (np.asarray(counts, dtype=np.float64) for counts in (hits, predicted, truth))
    both = predicted + truth
    return ClassScores(
        iou=_ratio(hits, both - hits),
        dice=_ratio(2 * hits, both),
        precision=_ratio(hits, predicted),
        recall=_ratio(hits, truth),
    )


def mean_of(values: np.ndarray) -> float:
    """The mean over what is there; NaN where nothing is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full_like(below, np.nan), where=below > 0)
