from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from snowmelt.data.dataset import as_tv_tensors
from snowmelt.data.randomness import seeded
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.data.transforms import (
    AUGMENTATIONS,
    PAD_COLOUR,
    build_evaluation_transform,
    build_transform,
    fitted_size,
)
from snowmelt.errors import SnowmeltError

STEP = 60  # grey levels between the painted classes


def painted(height: int, width: int) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
    """Four quarters of the classes 0 to 3, and a picture whose grey is STEP x class."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 2 :] += 2
    mask[:, width // 2 :] += 1
    return as_tv_tensors(np.repeat((mask * STEP)[..., None], 3, axis=2), mask)


def inner(mask: torch.Tensor) -> torch.Tensor:
    """Pixels whose 5 x 5 neighbourhood lies inside and holds one label: there interpolation blends nothing."""
    padded = torch.nn.functional.pad(mask[None, None].float(), (2, 2, 2, 2), value=-1)
    high = torch.nn.functional.max_pool2d(padded, 5, stride=1)[0, 0]
    low = -torch.nn.functional.max_pool2d(-padded, 5, stride=1)[0, 0]
    return high == low


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (64, 64), (48, 200)])
def test_picture_and_mask_share_their_geometry(kind: str, height: int, width: int) -> None:
    transform = build_transform(kind, 64)
    compared = 0
    for draw in range(8):
        with seeded(0, draw):
            image, mask = transform.geometric(*painted(height, width))
        assert image.shape == (3, 64, 64) and mask.shape == (64, 64)
        assert image.dtype == mask.dtype == torch.uint8
        labelled = inner(mask) & (mask != IGNORE_INDEX)
        assert ((image[0].int() - mask.int() * STEP).abs()[labelled] <= 1).all()
        compared += int(labelled.sum())
        padding = inner(mask) & (mask == IGNORE_INDEX)
        for channel, value in zip(image, PAD_COLOUR, strict=True):
            assert (channel[padding] == value).all()
    assert compared > 300


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_geometry_varies(kind: str) -> None:
    transform = build_transform(kind, 32)
    masks = set()
    for draw in range(10):
        with seeded(0, draw):
            masks.add(transform.geometric(*painted(40, 50))[1].numpy().tobytes())
    assert len(masks) >= 9


@pytest.mark.parametrize("size", [20, 33, 64, 150])
def test_masks_are_not_shifted_against_pictures(size: int) -> None:
    """The centre of a disc, in the resized picture and in its mask: sampling cell corners would shift the latter."""
    rows, columns = np.mgrid[0:101, 0:101]
    disc = ((rows - 50) ** 2 + (columns - 50) ** 2 < 35**2).astype(np.uint8)
    image, mask = build_evaluation_transform(size)(*as_tv_tensors(np.repeat(disc[..., None] * 255, 3, axis=2), disc))
    weights = image[0].double()
    positions = torch.arange(size).double()
    for axis in (0, 1):
        in_picture = (weights.sum(1 - axis) * positions).sum() / weights.sum()
        in_mask = (mask.double().sum(1 - axis) * positions).sum() / mask.sum()
        assert abs(in_picture - in_mask) < 0.06


def test_the_letterbox_keeps_aspect_and_pads_at_the_end() -> None:
    image, mask = build_evaluation_transform(40)(*painted(50, 100))
    assert (mask[20:] == IGNORE_INDEX).all() and (mask[:20] != IGNORE_INDEX).all()
    assert [mask[5, 5], mask[5, 35], mask[15, 5], mask[15, 35]] == [0, 1, 2, 3]
    assert image[:, 30, 7].tolist() == list(PAD_COLOUR)
    tall = build_evaluation_transform(40)(*painted(100, 50))[1]
    assert (tall[:, 20:] == IGNORE_INDEX).all() and (tall[:, :20] != IGNORE_INDEX).all()


def test_a_picture_of_the_right_size_passes_unchanged() -> None:
    image, mask = painted(32, 32)
    found = build_evaluation_transform(32)(image, mask)
    assert torch.equal(found[0], image) and torch.equal(found[1], mask)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_fitted_sizes(height: int, width: int, size: int) -> None:
    fitted = fitted_size(height, width, size)
    assert max(fitted) == size and min(fitted) >= 1
    assert abs(fitted[0] * width - fitted[1] * height) <= max(height, width) or min(fitted) == 1


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_colour_leaves_shape_and_type(kind: str) -> None:
    image = tv_tensors.Image(torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8))
    changed = 0
    for draw in range(12):
        with seeded(draw):
            found = build_transform(kind, 24).colour(image)
        assert found.shape == image.shape and found.dtype == torch.uint8
        changed += not torch.equal(found, image)
    assert changed == (0 if kind == "none" else 12)


def test_ignored_pixels_stay_ignored() -> None:
    image, mask = painted(64, 64)
    mask[:] = IGNORE_INDEX
    for kind in AUGMENTATIONS:
        with seeded(1):
            assert (build_transform(kind, 48)(image, mask)[1] == IGNORE_INDEX).all()


def test_unknown_kinds_and_sizes() -> None:
    with pytest.raises(SnowmeltError, match="augmentation 'medium' is not known; choose one of none, light, heavy"):
        build_transform("medium", 32)
    with pytest.raises(SnowmeltError, match="image size 0"):
        build_transform("light", 0)
