"""Groups of images and regions: who is in which, and their scores one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from snowmelt.evaluation import (
    ImageCounts,
    brightness_of,
    by_brightness,
    by_size,
    class_scores,
    confusion_by_image,
    counts_of_matrices,
)


def counted(shown: torch.Tensor, truth: torch.Tensor, classes: int) -> tuple[ImageCounts, np.ndarray]:
    matrices, _ = confusion_by_image(shown, truth, classes, 255)
    return ImageCounts.of(counts_of_matrices(matrices).numpy()), matrices.numpy()


def made(images: int = 7, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(4)
    truth = torch.randint(0, classes, (images, 8, 8), generator=rng)
    truth[:2][truth[:2] == 3] = 0  # absent there
    shown = torch.where(torch.rand(truth.shape, generator=rng) < 0.6, truth, torch.randint(0, classes, truth.shape))
    return shown, truth.masked_fill(torch.rand(truth.shape, generator=rng) < 0.1, 255)


def test_each_image_has_the_score_that_it_has_alone() -> None:
    shown, truth = made()
    shown[0][shown[0] == 3] = 1
    counts, matrices = counted(shown, truth, 4)
    expected = [np.nanmean(class_scores(matrix).iou) for matrix in matrices]
    np.testing.assert_allclose(counts.miou_by_image(), expected)
    np.testing.assert_array_equal(counts.truth, matrices.sum(2))
    np.testing.assert_array_equal(counts.predicted, matrices.sum(1))
    empty, _ = counted(shown, torch.full_like(truth, 255), 4)
    assert np.isnan(empty.miou_by_image()).all()


def test_brightness_is_that_of_what_counts() -> None:
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    images[0] = 255
    images[1, 0] = 100  # red
    images[1, :, 2:] = 255  # padding
    valid = torch.ones(3, 4, 4, dtype=torch.bool)
    valid[1, 2:] = False
    valid[2] = False
    found = brightness_of(images, valid)
    assert found[:2].tolist() == pytest.approx([255.0, 29.9])
    assert found[2].isnan()


def test_thirds_from_dark_to_bright() -> None:
    groups = by_brightness(np.array([50.0, 9.0, np.nan, 200.0, 10.0, 100.0, 50.0, 7.0]))
    assert [group.name for group in groups] == ["dark", "middle", "bright"]
    assert [np.flatnonzero(group.members).tolist() for group in groups] == [[1, 4, 7], [0, 6], [3, 5]]
    assert [(group.low, group.high) for group in groups] == [(7, 10), (50, 50), (100, 200)]
    assert [group.name for group in by_brightness(np.array([3.0]))] == ["dark"]
    assert by_brightness(np.array([np.nan])) == []


def test_a_group_of_images_is_scored_as_if_it_were_the_set() -> None:
    shown, truth = made()
    counts, matrices = counted(shown, truth, 4)
    groups = by_brightness(np.arange(7.0))
    assert sum(group.count for group in groups) == 7
    for group in groups:
        assert group.miou(counts) == pytest.approx(class_scores(matrices[group.members].sum(0)).miou)


def test_regions_by_their_share_of_the_image() -> None:
    truth = np.array(
        [[992, 8, 0, 0], [900, 0, 99, 1], [0, 0, 500, 500], [990, 10, 0, 0], [0, 0, 0, 0], [0, 0, 100, 900]]
    )
    small, medium, large = by_size(truth)
    assert np.argwhere(small.members).tolist() == [[0, 1], [1, 3], [3, 1]]  # 0.8 %, 0.1 %, just 1 %
    assert np.argwhere(medium.members).tolist() == [[1, 2], [5, 2]]
    assert np.argwhere(large.members).tolist() == [[2, 2], [2, 3], [5, 3]]
    assert (small.low, small.high, medium.high, large.high) == (0.0, 0.01, 0.1, 1.0)


def test_a_group_of_regions_takes_an_image_only_for_its_classes() -> None:
    shown, truth = made(images=5)
    counts, matrices = counted(shown, truth, 4)
    for group in by_size(counts.truth):
        scores = []
        for label in range(1, 4):
            members = matrices[group.members[:, label]]
            if len(members):
                scores.append(class_scores(members.sum(0)).iou[label])
        assert group.miou(counts) == pytest.approx(np.mean(scores) if scores else np.nan, nan_ok=True)
