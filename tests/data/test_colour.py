from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.colour import GREY, ColourJitter, apply_colour, on_grid, turned
from snowmelt.data.placement import PAD_COLOUR
from snowmelt.data.randomness import generator

HEAVY = ColourJitter(0.4, 0.4, 0.4, 0.05, grey=0.1)


def drawn(jitter: ColourJitter, count: int) -> torch.Tensor:
    return torch.stack([jitter.draw(generator(number)) for number in range(count)])


def pictures(count: int, size: int = 17) -> torch.Tensor:
    return torch.randint(
        0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(count)
    )


def test_it_is_the_affine_map_rounded_and_limited() -> None:
    """Second implementation: matrix products in float64."""
    images, colour = pictures(6), drawn(HEAVY, 6)
    found = apply_colour(images, colour)
    matrix = colour.double().numpy()
    exact = np.einsum("bij,bjhw->bihw", matrix[:, :, :3], images.double().numpy()) + matrix[:, :, 3, None, None]
    np.testing.assert_array_equal(found.numpy(), np.rint(exact).clip(0, 255).astype(np.uint8))
    assert (found == 255).any() and (found == 0).any()


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(0, 5))
def test_bits_do_not_depend_on_the_batch_or_on_what_is_fused(seed: int, size: int, row: int) -> None:
    images, colour = pictures(6, size), drawn(HEAVY, 6 + seed % 7)[-6:]
    whole = apply_colour(images, colour)
    assert torch.equal(whole[row : row + 1], apply_colour(images[row : row + 1], colour[row : row + 1]))
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(whole, apply_colour(last, colour))
    fused = torch.baddbmm(colour[:, :, 3:], colour[:, :, :3], images.float().flatten(2)).round_().clamp_(0, 255)
    assert torch.equal(whole, fused.to(torch.uint8).view_as(whole))


def test_the_identity_changes_nothing() -> None:
    images = pictures(2)
    assert torch.equal(apply_colour(images, drawn(ColourJitter(), 2)), images)


@given(st.floats(-1, 1))
def test_hue_turns_about_grey(turns: float) -> None:
    matrix = turned(turns)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1)
    np.testing.assert_allclose(turned(1 / 3) @ np.array([1.0, 0, 0]), [0, 1, 0], atol=1e-12)  # red becomes green


def test_each_part_does_what_it_is_called() -> None:
    red = torch.tensor([200, 40, 40], dtype=torch.uint8).view(1, 3, 1, 1)
    grey = torch.full((1, 3, 1, 1), round(GREY), dtype=torch.uint8)
    luma = 0.299 * 200 + 0.701 * 40

    def of(images: torch.Tensor, **parts: float) -> torch.Tensor:
        colour = drawn(ColourJitter(**parts), 50)
        return apply_colour(images.expand(50, -1, -1, -1), colour).double()[:, :, 0, 0]

    brighter = of(red, brightness=0.2)
    assert 160 <= brighter[:, 0].min() < 166 and 234 < brighter[:, 0].max() <= 240
    torch.testing.assert_close(brighter[:, 0] / 5, brighter[:, 1], rtol=0, atol=0.7)
    assert (of(grey, contrast=0.4) - GREY).abs().max() <= 0.5  # contrast turns about this grey
    spread = of(red, contrast=0.4)
    torch.testing.assert_close(
        (spread[:, 0] - GREY) * (40 - GREY), (spread[:, 1] - GREY) * (200 - GREY), rtol=0, atol=150
    )
    duller = of(red, saturation=0.4)
    torch.testing.assert_close(
        0.299 * duller[:, 0] + 0.701 * duller[:, 1], torch.full((50,), luma).double(), rtol=0, atol=1
    )
    assert (of(red, hue=0.05).mean(dim=1) - 280 / 3).abs().max() < 0.7  # a rotation keeps the mean
    assert (of(red, grey=1.0) - luma).abs().max() < 0.7
    assert sum(torch.equal(each, each[0].expand(3)) for each in of(red, grey=0.5)) in range(15, 36)


def test_padding_changes_with_the_picture() -> None:
    padding = torch.tensor(PAD_COLOUR, dtype=torch.uint8).view(1, 3, 1, 1).expand(20, -1, 4, 4)
    found = apply_colour(padding, drawn(ColourJitter(0.2, 0.2, 0.2, 0.02), 20))
    assert 10 < (found.double() - padding.double()).abs().amax() < 40
    assert (found == found[:, :, :1, :1]).all()


def test_entries_beyond_the_grid_are_limited() -> None:
    found = on_grid(np.array([[9.0, -9.0, 0.30001, 5000.0]] * 3))
    assert found[0].tolist() == [pytest.approx(3.999, abs=1e-3), pytest.approx(-3.999, abs=1e-3), 307 / 1024, 1023]
    assert torch.equal(found * 1024, (found * 1024).round())
