"""Scores of one confusion matrix: by hand, against torchmetrics, and what has no meaning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_f1_score, multiclass_precision, multiclass_recall

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import ConfusionMatrix, class_scores, mean_of


def test_worked_example() -> None:
    scores = class_scores(np.array([[6, 2], [1, 3]]))
    assert scores.iou.tolist() == [6 / 9, 3 / 6]
    assert scores.dice.tolist() == [12 / 15, 6 / 9]
    assert scores.precision.tolist() == [6 / 7, 3 / 5]
    assert scores.recall.tolist() == [6 / 8, 3 / 4]
    assert scores.miou == pytest.approx((6 / 9 + 3 / 6) / 2)
    assert scores.mean_dice == pytest.approx((12 / 15 + 6 / 9) / 2)


def test_what_has_no_meaning_is_not_zero() -> None:
    """Class 1 is in the truth and never predicted, class 2 predicted and never there, class 3 in neither."""
    scores = class_scores(np.array([[5, 0, 1, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert [math.isnan(value) for value in scores.iou] == [False, False, False, True]
    assert scores.iou[1:3].tolist() == [0.0, 0.0]
    assert [math.isnan(value) for value in scores.precision] == [False, True, False, True]
    assert [math.isnan(value) for value in scores.recall] == [False, False, True, True]
    assert scores.miou == pytest.approx(5 / 8 / 3)
    assert math.isnan(mean_of(np.array([np.nan, np.nan])))


@given(seed=st.integers(0, 10_000), classes=st.integers(2, 7))
def test_torchmetrics_finds_the_same(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, shown = (torch.from_numpy(rng.integers(0, classes, 300)) for _ in range(2))
    truth[:5] = 255
    matrix = ConfusionMatrix(classes, 255)
    matrix.update(shown, truth)
    scores = class_scores(matrix.matrix.numpy())
    theirs = {"num_classes": classes, "average": "none", "ignore_index": 255}
    np.testing.assert_allclose(scores.dice, multiclass_f1_score(shown, truth, **theirs), rtol=1e-5)
    np.testing.assert_allclose(scores.precision, multiclass_precision(shown, truth, **theirs), rtol=1e-5)
    np.testing.assert_allclose(scores.recall, multiclass_recall(shown, truth, **theirs), rtol=1e-5)
    np.testing.assert_array_equal(scores.iou, matrix.iou())
    np.testing.assert_allclose(scores.dice, 2 * scores.iou / (1 + scores.iou))


def test_only_a_square_is_a_confusion_matrix() -> None:
    with pytest.raises(SnowmeltError, match="not square"):
        class_scores(np.zeros((2, 3)))
