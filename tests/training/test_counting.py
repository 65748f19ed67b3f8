"""What counts: labelled pixels, taught pixels, and images of either kind."""

from __future__ import annotations

import torch

from snowmelt.data import IGNORE_INDEX, UNLABELLED, Batch
from snowmelt.training.counting import count, labels_of


def batch(*masks: list[list[int]], first: int = 0) -> Batch:
    stacked = torch.tensor(masks, dtype=torch.uint8)
    return Batch(torch.zeros(len(masks), 3, 2, 2, dtype=torch.uint8), stacked, torch.arange(len(masks)) + first)


WHOLE = [[0, 1], [1, IGNORE_INDEX]]
PARTLY = [[0, UNLABELLED], [1, 1]]
WITHOUT = [[UNLABELLED, UNLABELLED], [IGNORE_INDEX, IGNORE_INDEX]]
NOTHING = [[IGNORE_INDEX, IGNORE_INDEX], [IGNORE_INDEX, IGNORE_INDEX]]


def test_every_kind_of_picture() -> None:
    def counted(*masks: list[list[int]]) -> tuple[int, ...]:
        return tuple(int(number) for number in count(batch(*masks)))

    assert counted(WHOLE) == (3, 1, 3, 1)
    assert counted(PARTLY) == (3, 0, 4, 1)  # one pixel without a label makes it an unlabelled image
    assert counted(WITHOUT) == (0, 0, 2, 1)
    assert counted(NOTHING) == (0, 0, 0, 0)  # a filler
    assert counted(WHOLE, PARTLY, WITHOUT, NOTHING) == (6, 1, 9, 3)


def test_a_negative_index_is_no_image() -> None:
    assert count(batch(WHOLE, first=-3))[1::2] == (0, 0)


def test_scores_see_unlabelled_pixels_as_ignored() -> None:
    labels = labels_of(batch(PARTLY, WITHOUT))
    assert labels.tolist() == [[[0, IGNORE_INDEX], [1, 1]], [[IGNORE_INDEX] * 2, [IGNORE_INDEX] * 2]]
    assert labels.dtype == torch.uint8
