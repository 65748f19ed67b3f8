from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.colour import apply_colour
from snowmelt.data.randomness import generator
from snowmelt.data.samples import IGNORE_INDEX, Sample
from snowmelt.data.transforms import (
    AUGMENTATIONS,
    PAD_COLOUR,
    build_evaluation_transform,
    build_transform,
    fitted_size,
)
from snowmelt.data.working import Working, reduce
from snowmelt.errors import SnowmeltError

STEP = 60  # grey levels between the painted classes


def painted(height: int, width: int) -> Working:
    """Four quarters of the classes 0 to 3, and a picture whose grey is STEP x class."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[height // 2 :] += 2
    mask[:, width // 2 :] += 1
    return Working(np.repeat((mask * STEP)[..., None], 3, axis=2), mask, (height, width))


def boxed(size: int, picture: Working) -> tuple[torch.Tensor, torch.Tensor]:
    placed = build_evaluation_transform(size).place(picture)
    return placed.image, placed.mask


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
        placed = transform.place(painted(height, width), generator(0, draw))
        image, mask = placed.image, placed.mask
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
        masks.add(transform.place(painted(40, 50), generator(0, draw)).mask.numpy().tobytes())
    assert len(masks) >= 9


@pytest.mark.parametrize("size", [20, 33, 64, 150])
def test_masks_are_not_shifted_against_pictures(size: int) -> None:
    """The centre of a disc, in the resized picture and in its mask: sampling cell corners would shift the latter."""
    rows, columns = np.mgrid[0:101, 0:101]
    disc = ((rows - 50) ** 2 + (columns - 50) ** 2 < 35**2).astype(np.uint8)
    image, mask = boxed(size, Working(np.repeat(disc[..., None] * 255, 3, axis=2), disc, disc.shape))
    weights = image[0].double()
    positions = torch.arange(size).double()
    for axis in (0, 1):
        in_picture = (weights.sum(1 - axis) * positions).sum() / weights.sum()
        in_mask = (mask.double().sum(1 - axis) * positions).sum() / mask.sum()
        assert abs(in_picture - in_mask) < 0.06


def test_the_letterbox_keeps_aspect_and_pads_at_the_end() -> None:
    image, mask = boxed(40, painted(50, 100))
    assert (mask[20:] == IGNORE_INDEX).all() and (mask[:20] != IGNORE_INDEX).all()
    assert [mask[5, 5], mask[5, 35], mask[15, 5], mask[15, 35]] == [0, 1, 2, 3]
    assert image[:, 30, 7].tolist() == list(PAD_COLOUR)
    tall = boxed(40, painted(100, 50))[1]
    assert (tall[:, 20:] == IGNORE_INDEX).all() and (tall[:, :20] != IGNORE_INDEX).all()


def test_a_picture_of_the_right_size_passes_unchanged() -> None:
    picture = painted(32, 32)
    image, mask = boxed(32, picture)
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), picture.image)
    np.testing.assert_array_equal(mask.numpy(), picture.mask)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 512))
def test_fitted_sizes(height: int, width: int, size: int) -> None:
    fitted = fitted_size(height, width, size)
    assert max(fitted) == size and min(fitted) >= 1
    assert abs(fitted[0] * width - fitted[1] * height) <= max(height, width) or min(fitted) == 1


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 120))
def test_letterboxing_is_the_same_before_and_after_reducing(height: int, width: int, size: int) -> None:
    """What a store holds for validation gives the very bits that the file gives."""
    random = np.random.default_rng(height * 1000 + width)
    sample = Sample(
        random.integers(0, 256, (height, width, 3), dtype=np.uint8),
        random.integers(0, 4, (height, width), dtype=np.uint8),
        "a",
    )
    whole = boxed(size, Working(sample.image, sample.mask, (height, width)))
    reduced = boxed(size, reduce(sample, size))
    assert torch.equal(whole[0], reduced[0]) and torch.equal(whole[1], reduced[1])


def test_no_augmentation_is_the_letterbox() -> None:
    picture = painted(70, 50)
    placed = build_transform("none", 32).place(picture, generator(0))
    image, mask = boxed(32, picture)
    assert torch.equal(placed.image, image) and torch.equal(placed.mask, mask)
    assert build_transform("none", 32).colour(generator(0)) is None


@pytest.mark.parametrize(("kind", "side"), [("none", 50), ("light", 75), ("heavy", 100)])
def test_working_pictures_are_as_large_as_the_largest_scale(kind: str, side: int) -> None:
    assert build_transform(kind, 50).working_side == side
    assert build_transform("light", 33).working_side == 50  # a half pixel more than half


@pytest.mark.parametrize("kind", ["light", "heavy"])
def test_colours_and_textures_vary(kind: str) -> None:
    transform = build_transform(kind, 24)
    image = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
    coloured, textured = 0, 0
    for draw in range(40):
        colour = transform.colour(generator(draw))
        assert colour is not None
        coloured += not torch.equal(apply_colour(image[None], colour[None])[0], image)
        found = transform.texture(image, generator(draw))
        assert found.shape == image.shape and found.dtype == torch.uint8
        textured += not torch.equal(found, image)
    assert coloured == 40
    assert textured == 0 if kind == "light" else 10 < textured < 32  # 1 - 0.7 * 0.7 of 40 are 20


def test_noise_and_blur_are_as_strong_as_they_say() -> None:
    flat = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    transform = build_transform("heavy", 64)
    spreads = [transform.texture(flat, generator(draw)).float().std().item() for draw in range(30)]
    noisy = [spread for spread in spreads if spread > 0]  # blur leaves what is flat
    assert 3 <= len(noisy) <= 18 and all(9.5 < spread < 10.5 for spread in noisy)


def test_the_distribution_of_the_geometry() -> None:
    transform = build_transform("heavy", 32)
    drawn = [transform.draw(generator(1, number)) for number in range(2000)]
    scales = np.log2([item.scale for item in drawn])
    degrees = np.array([item.degrees for item in drawn])
    assert -1 <= scales.min() < -0.95 and 0.95 < scales.max() <= 1 and abs(scales.mean()) < 0.05
    assert -15 <= degrees.min() < -14 and 14 < degrees.max() <= 15 and abs(degrees.mean()) < 0.8
    assert abs(np.mean([item.flip for item in drawn]) - 0.5) < 0.04
    shares = np.array([item.shares for item in drawn])
    assert (abs(shares.mean(axis=0) - 0.5) < 0.03).all() and abs(np.corrcoef(shares.T)[0, 1]) < 0.08
    light = [build_transform("light", 32).draw(generator(1, number)).scale for number in range(500)]
    assert 0.75 <= min(light) < 0.76 and 1.48 < max(light) <= 1.5


def test_ignored_pixels_stay_ignored() -> None:
    picture = painted(64, 64)
    picture.mask[:] = IGNORE_INDEX
    for kind in AUGMENTATIONS:
        assert (build_transform(kind, 48).place(picture, generator(1)).mask == IGNORE_INDEX).all()


def test_unknown_kinds_and_sizes() -> None:
    with pytest.raises(SnowmeltError, match="augmentation 'medium' is not known; choose one of none, light, heavy"):
        build_transform("medium", 32)
    with pytest.raises(SnowmeltError, match="image size 0"):
        build_transform("light", 0)
