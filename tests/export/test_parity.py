"""When a graph counts as the network's."""

from __future__ import annotations

import math

import pytest
import torch

from snowmelt.export import Parity
from snowmelt.export.parity import invent_images, shapes_to_compare


@pytest.mark.parametrize(
    ("error", "logit", "agreement", "holds"),
    [
        (1e-4, 0.5, 1.0, True),  # small logits are measured against 1
        (1.1e-4, 0.5, 1.0, False),
        (1e-3, 10.0, 1.0, True),
        (1.1e-3, 10.0, 1.0, False),
        (0.0, 1.0, 0.9999, True),
        (0.0, 1.0, 0.99989, False),
        (math.nan, 1.0, 1.0, False),
        (0.0, 1.0, math.nan, False),
    ],
)
def test_the_limits(error: float, logit: float, agreement: float, holds: bool) -> None:
    assert Parity(error, logit, agreement, ()).holds is holds


def test_shapes_fit_the_stride_and_differ() -> None:
    shapes = shapes_to_compare(100, 32, None)
    assert all(side % 32 == 0 and side > 0 for _, *sides in shapes for side in sides)
    assert len(set(shapes)) == len(shapes) == 4
    assert shapes_to_compare(100, 32, (64, 96)) == ((1, 64, 96), (3, 64, 96))
    assert all(min(shape) > 0 for shape in shapes_to_compare(16, 32, None))


def test_invented_images_are_pixels_and_always_the_same() -> None:
    images = invent_images((2, 32, 48), seed=1)
    assert images.shape == (2, 3, 32, 48)
    assert torch.equal(images, images.round())
    assert (float(images.min()) >= 0, float(images.max()) <= 255) == (True, True)
    assert float(images.std()) > 20
    assert torch.equal(images, invent_images((2, 32, 48), seed=1))
    assert not torch.equal(images, invent_images((2, 32, 48), seed=2))
