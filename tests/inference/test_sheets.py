"""Whole, in its own size, and in tiles: what the network is shown, and that no way changes what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from toy_networks import convolving, picture, predict_one

from snowmelt.data import PAD_COLOUR, Letterbox
from snowmelt.inference import Fit, Native, Tiles, Whole

# Tiles larger than the picture, as large, smaller, and much smaller; sides that no tile divides.
SIZES = [(40, 70), (64, 64), (97, 131), (33, 200), (130, 20)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.7])
@pytest.mark.parametrize("flip", [False, True])
def test_tiles_say_what_the_whole_says(size: tuple[int, int], overlap: float, flip: bool) -> None:
    """The network sees two pixels far, and a quarter of any overlap here is more, so not even rounding is visible."""
    network, image = convolving(size=5, channels=4), picture(*size)
    tiled = predict_one(image, network, Tiles((64, 64), overlap), channels=4, flip=flip)
    whole = predict_one(image, network, Native(1), channels=4, flip=flip)
    assert tiled.probabilities is not None and whole.probabilities is not None
    # Beside a picture smaller than a tile lies the padding, where the whole has the convolution's zeros.
    below, beside = (2 if side < 64 else 0 for side in size)
    inside = np.s_[: size[0] - below, beside if flip else 0 : size[1] - beside]
    np.testing.assert_allclose(tiled.probabilities[:, *inside], whole.probabilities[:, *inside], atol=1e-3)
    assert (tiled.mask[inside] == whole.mask[inside]).mean() > 0.9999


def test_a_seam_would_show_without_the_blending() -> None:
    """What the test above proves: with no overlap the network misses its surroundings at the edges of tiles."""
    network, image = convolving(size=5), picture(128, 192)
    tiled = predict_one(image, network, Tiles((64, 64), 0.0))
    whole = predict_one(image, network, Native(1))
    assert tiled.probabilities is not None and whole.probabilities is not None
    assert np.abs(tiled.probabilities.astype(float) - whole.probabilities).max() > 0.1


def test_a_step_from_tile_to_tile_is_blended_away() -> None:
    """Where tiles disagree (a network that answers by the tile's own mean), no pixel jumps."""

    def by_mean(images: torch.Tensor) -> torch.Tensor:
        level = images.float().mean(dim=(1, 2, 3), keepdim=True) / 255 * 8 - 4
        return level.expand(-1, 1, *images.shape[2:])

    image = np.repeat(np.linspace(0, 255, 400).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    blended = predict_one(image, by_mean, Tiles((64, 64), 0.5), channels=1).probabilities
    cut = predict_one(image, by_mean, Tiles((64, 64), 0.0), channels=1).probabilities
    assert blended is not None and cut is not None
    steps = [np.abs(np.diff(values[1].astype(float), axis=1)).max() for values in (blended, cut)]
    assert steps[0] < 0.03 < 0.09 < steps[1]


@pytest.mark.parametrize("size", [(48, 64), (200, 90), (31, 31), (7, 300), (1, 9), (64, 64)])
def test_whole_shows_what_the_letterbox_shows(size: tuple[int, int]) -> None:
    image = picture(*size)
    [piece] = Whole((64, 64)).sheet(image, 3, flip=False, keep=False).pieces()
    mask = torch.zeros(size, dtype=torch.uint8)
    expected, _ = Letterbox(64)(torch.from_numpy(image).permute(2, 0, 1), mask)
    assert torch.equal(piece.pixels, expected)


def test_the_mirrored_view_has_its_padding_where_training_has_it() -> None:
    image = picture(64, 32)
    plain, mirrored = Whole((64, 64)).sheet(image, 3, flip=True, keep=False).pieces()
    assert torch.equal(mirrored.pixels[:, :, :32], plain.pixels[:, :, :32].flip(2))
    assert torch.equal(mirrored.pixels[:, :, 32:], plain.pixels[:, :, 32:])
    assert tuple(mirrored.pixels[:, 0, 40].tolist()) == PAD_COLOUR


@pytest.mark.parametrize("fit", [Native(32), Tiles((64, 96))])
def test_a_small_picture_is_padded_not_resized(fit: Fit) -> None:
    image = picture(20, 31)
    [piece] = fit.sheet(image, 3, flip=False, keep=False).pieces()
    assert np.array_equal(piece.pixels[:, :20, :31].permute(1, 2, 0).numpy(), image)
    assert piece.pixels.shape == ((3, 32, 32) if isinstance(fit, Native) else (3, 64, 96))
    assert tuple(piece.pixels[:, -1, -1].tolist()) == PAD_COLOUR


def test_a_canvas_that_is_not_square() -> None:
    image = picture(100, 100)
    [piece] = Whole((64, 96)).sheet(image, 3, flip=False, keep=False).pieces()
    assert piece.pixels.shape == (3, 64, 96)
    assert tuple(piece.pixels[:, 5, 64].tolist()) == PAD_COLOUR
    prediction = predict_one(image, convolving(), Whole((64, 96)))
    assert prediction.mask.shape == (100, 100)


def test_only_a_row_of_tiles_is_held_as_probabilities() -> None:
    sheet = Tiles((32, 32)).sheet(picture(320, 64), 5, flip=False, keep=False)
    for piece in sheet.pieces():
        sheet.add(piece, torch.rand(5, 32, 32))
        held = sum(value.numel() for value in vars(sheet).values() if isinstance(value, torch.Tensor))
        assert held <= 5 * 32 * 64
    assert sheet.finished
