"""Boundary F-score: by hand, against all distances between all pixels, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import BoundaryScore, boundary_scores

IGNORED = 255


def outline(labels: np.ndarray, valid: np.ndarray, label: int) -> np.ndarray:
    """(P, 2) places of the pixels of ``label`` with a neighbour of another class, one by one."""
    height, width = labels.shape
    places = []
    for row in range(height):
        for column in range(width):
            if not valid[row, column] or labels[row, column] != label:
                continue
            for down, across in ((0, 1), (1, 0), (0, -1), (-1, 0)):
                y, x = row + down, column + across
                if 0 <= y < height and 0 <= x < width and valid[y, x] and labels[y, x] != label:
                    places.append((row, column))
                    break
    return np.array(places).reshape(-1, 2)


def by_all_distances(shown: np.ndarray, truth: np.ndarray, label: int, tolerance: float) -> float:
    valid = truth != IGNORED
    rows, columns = np.nonzero(valid)
    limit = max(1.0, tolerance * math.hypot(rows.max() + 1, columns.max() + 1)) if len(rows) else 1.0
    one, other = outline(shown, valid, label), outline(truth, valid, label)
    if not len(one) and not len(other):
        return math.nan
    if not len(one) or not len(other):
        return 0.0
    distances = np.sqrt(((one[:, None] - other[None]) ** 2).sum(2))
    precision, recall = (distances.min(1) <= limit).mean(), (distances.min(0) <= limit).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boxes(*lefts: int, size: int = 12) -> torch.Tensor:
    """An image of a box of 4 x 4 pixels for each ``left``."""
    labels = torch.zeros(len(lefts), size, size, dtype=torch.int64)
    for image, left in enumerate(lefts):
        labels[image, 4:8, left : left + 4] = 1
    return labels


def test_by_hand() -> None:
    """A shift by one pixel is within a pixel; by three, the sides across are still found in part."""
    truth = boxes(2, 2, 2)
    scores = boundary_scores(boxes(2, 3, 5), truth, 2, tolerance=0.0)
    assert scores[0].tolist() == [1.0, 1.0]
    assert scores[1, 1] == 1.0
    # Of the 12 pixels around a box, columns 5 and 4 are within a pixel of the other's: 4 + 2 on either side.
    assert scores[2, 1] == pytest.approx(6 / 12)
    exact = boundary_scores(boxes(7), truth[:1], 2, tolerance=0.0)
    assert exact[0, 1] == 0.0


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    classes=st.integers(2, 5),
    tolerance=st.sampled_from([0.0, 0.05, 0.11, 0.2]),
    ignored=st.booleans(),
)
def test_against_all_distances(seed: int, classes: int, tolerance: float, ignored: bool) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (2, 2, 4, 5))
    shown, truth = coarse.repeat(3, axis=2).repeat(3, axis=3)
    if ignored:
        truth[rng.random(truth.shape) < 0.1] = IGNORED
        truth[:, -2:] = IGNORED  # padding
        truth[1, :, -3:] = IGNORED
    scores = boundary_scores(torch.from_numpy(shown), torch.from_numpy(truth), classes, IGNORED, tolerance)
    for image in range(2):
        for label in range(classes):
            expected = by_all_distances(shown[image], truth[image], label, tolerance)
            assert scores[image, label].item() == pytest.approx(expected, abs=1e-6, nan_ok=True)


def test_absent_missed_and_invented() -> None:
    truth = torch.stack([boxes(2)[0] * 1, boxes(2)[0] * 1, torch.zeros(12, 12, dtype=torch.int64)])
    shown = torch.stack(
        [torch.zeros(12, 12, dtype=torch.int64), boxes(2)[0] * 2, torch.zeros(12, 12, dtype=torch.int64)]
    )
    scores = boundary_scores(shown, truth, 4)
    assert scores[0, :2].tolist() == [0.0, 0.0]  # a box that was missed
    assert scores[1, 1:3].tolist() == [0.0, 0.0]  # one of another class
    assert scores[:, 3].isnan().all()
    assert scores[2].isnan().all()  # nothing has a boundary
    whole = BoundaryScore(4)
    whole.add(shown, truth)
    assert whole.totals[1].tolist() == [2, 2, 1, 0]
    assert whole.scores()[0] == pytest.approx((0 + 1) / 2)
    assert math.isnan(whole.scores()[3])


def test_padding_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    shown, truth = torch.from_numpy(rng.integers(0, 3, (2, 3, 20, 14)))
    alone = boundary_scores(shown, truth, 3, IGNORED, 0.1)
    wide = torch.full((3, 40, 40), IGNORED)
    guessed = torch.from_numpy(rng.integers(0, 3, (3, 40, 40)))
    wide[:, :20, :14], guessed[:, :20, :14] = truth, shown
    assert torch.equal(boundary_scores(guessed, wide, 3, IGNORED, 0.1), alone)


def test_batches_add_up_in_any_order() -> None:
    rng = np.random.default_rng(1)
    shown, truth = torch.from_numpy(rng.integers(0, 3, (2, 6, 9, 9)))
    whole, parts = BoundaryScore(3), BoundaryScore(3)
    whole.add(shown, truth)
    for index in (4, 0, 5, 1, 3, 2):
        parts.add(shown[index : index + 1], truth[index : index + 1])
    torch.testing.assert_close(parts.totals, whole.totals)
    assert whole.scores().dtype == torch.float64


def test_a_wider_tolerance_never_scores_less() -> None:
    rng = np.random.default_rng(2)
    shown, truth = torch.from_numpy(rng.integers(0, 3, (2, 4, 16, 16)))
    scores = [boundary_scores(shown, truth, 3, tolerance=tolerance) for tolerance in (0.0, 0.1, 0.2)]
    assert (scores[1] >= scores[0]).all()
    assert (scores[2] >= scores[1]).all()


def test_what_is_refused() -> None:
    with pytest.raises(SnowmeltError, match="share of the diagonal"):
        BoundaryScore(2, tolerance=1.5)
    with pytest.raises(SnowmeltError, match="no boundaries to compare"):
        BoundaryScore(2).add(torch.zeros(2, 4, 4), torch.zeros(2, 4, 5))
