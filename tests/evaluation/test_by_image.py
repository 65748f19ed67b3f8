"""A confusion matrix for each image: by hand, against the one of the whole set, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import ConfusionMatrix, confusion_by_image


def test_each_image_has_its_own_counts() -> None:
    truth = torch.tensor([[[0, 0], [1, 1]], [[1, 255], [0, 1]]])
    shown = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 1]]])
    counts, outside = confusion_by_image(shown, truth, 2, ignore_index=255)
    assert counts.tolist() == [[[1, 1], [0, 2]], [[1, 0], [1, 1]]]
    assert counts.dtype == torch.int64
    assert int(outside) == 0


def test_what_is_no_class_is_counted_apart_unless_it_is_ignored() -> None:
    truth = torch.tensor([[[0, 7]], [[255, 1]]], dtype=torch.uint8)
    shown = torch.tensor([[[0, 0]], [[0, 3]]])
    counts, outside = confusion_by_image(shown, truth, 2, ignore_index=255)
    assert int(outside) == 2  # truth 7 and prediction 3; 255 is ignored
    assert counts.sum() == 1
    assert int(confusion_by_image(shown, truth, 2)[1]) == 3


@given(seed=st.integers(0, 10_000), images=st.integers(1, 5), classes=st.integers(1, 6))
def test_summed_up_it_is_the_matrix_of_the_set(seed: int, images: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth, shown = (torch.from_numpy(rng.integers(0, classes, (images, 5, 4))) for _ in range(2))
    truth[torch.from_numpy(rng.random((images, 5, 4)) < 0.2)] = 255
    whole = ConfusionMatrix(classes, ignore_index=255)
    whole.update(shown, truth)
    counts, _ = confusion_by_image(shown, truth, classes, ignore_index=255)
    assert torch.equal(counts.sum(0), whole.matrix)
    for index in range(images):
        alone = ConfusionMatrix(classes, ignore_index=255)
        alone.update(shown[index], truth[index])
        assert torch.equal(counts[index], alone.matrix)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 5), (3, 4, 4)])
def test_shapes_have_to_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(SnowmeltError, match="image by image"):
        confusion_by_image(torch.zeros(shape, dtype=torch.int64), torch.zeros(2, 4, 4, dtype=torch.int64), 2)
    if len(shape) == 2:
        with pytest.raises(SnowmeltError, match="image by image"):
            confusion_by_image(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.int64), 2)
