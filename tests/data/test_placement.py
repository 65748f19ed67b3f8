from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.placement import Drawn, cut, place, resize_region, rotation
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.data.working import resize_image

PIXELS = st.integers(1, 400)
SHARES = st.floats(0, 1, exclude_max=True)


@given(PIXELS, PIXELS, st.integers(1, 300), SHARES)
def test_a_cut_stays_inside(pixels: int, scaled: int, size: int, share: float) -> None:
    found = cut(pixels, scaled, size, share)
    assert found.step == pixels / scaled
    assert 0 <= found.start < found.stop <= pixels and found.skipped >= 0
    assert found.length == min(scaled, size) and 0 <= found.place <= size - found.length
    first = found.offset + found.place * found.step
    last = first + found.length * found.step
    assert first >= -1e-9 and last <= pixels + 1e-6
    assert found.stop >= min(pixels, last) - 1e-6
    nearest = found.nearest(pixels)
    assert len(nearest) == found.length and nearest.min() >= 0 and nearest.max() < pixels
    assert (np.diff(nearest) >= 0).all()


@given(st.integers(20, 400), st.integers(50, 300), st.integers(20, 200), SHARES)
def test_a_cut_lies_where_it_was_drawn(pixels: int, scaled: int, size: int, share: float) -> None:
    """At most a source pixel and an output pixel before it."""
    found = cut(pixels, scaled, size, share)
    if scaled > size:
        drawn = share * (pixels - size * found.step)
        assert drawn - 1 - found.step <= found.offset <= drawn + 1e-9
    else:
        assert found.place == int(share * (size - scaled + 1))


def picture(height: int, width: int) -> np.ndarray:
    """Smooth, so that a filter's reach shows and not its noise."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(9 * rows + k) * np.cos(7 * columns - k) for k in range(3)]
    return np.round(127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


@given(st.integers(30, 160), st.integers(30, 160), st.integers(20, 300), SHARES, SHARES)
def test_a_region_is_what_the_whole_picture_would_show_there(
    height: int, width: int, scaled: int, down: float, across: float
) -> None:
    """Second implementation: the whole resized by torchvision, read by numpy where the region says that it lies.

    The case of 90 to 92 pixels is one that the kernel takes for no change at all, unless it is kept from it.
    """
    image, size = picture(height, width), 24
    rows, columns = cut(height, scaled, size, down), cut(width, scaled + 2, size, across)
    found = resize_region(image, rows, columns).double().numpy()
    whole = resize_image(torch.from_numpy(image).permute(2, 0, 1), (scaled, scaled + 2)).double().numpy()
    for axis, stretch, sides in ((1, rows, scaled), (2, columns, scaled + 2)):
        first = stretch.offset / stretch.step + stretch.place
        at = np.clip(first + np.arange(stretch.length), 0, sides - 1)
        low = np.minimum(at.astype(int), sides - 1)
        high, share = np.minimum(low + 1, sides - 1), at - low
        share = share[:, None] if axis == 1 else share[None, :]
        whole = whole.take(low, axis) * (1 - share) + whole.take(high, axis) * share
    steepest = 8 * 120 * max(1.0, 1 / scaled) / scaled
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() < 2.5 + steepest * 0.35


@pytest.mark.parametrize(("pixels", "size"), [(97, 96), (90, 96), (130, 96)])
@pytest.mark.parametrize("step", [0.9774, 0.999, 1.02])
def test_equal_sizes_are_still_resized(pixels: int, size: int, step: float) -> None:
    """Torch skips an axis whose sizes are equal, whatever scale it is told."""
    image = np.repeat(np.arange(pixels, dtype=np.uint8)[None, :, None], 3, axis=2)
    rows = cut(1, 1, size, 0.0)
    columns = cut(pixels, round(pixels / step), size, 0.4)
    found = resize_region(image, rows, columns)[0, 0].double().numpy()
    expected = columns.offset + (columns.place + np.arange(columns.length) + 0.5) * columns.step - 0.5
    assert np.abs(found - expected.clip(0, pixels - 1)).max() < 0.76  # a grey level is a pixel here


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("degrees", [0.0, 9.0])
def test_flipping_mirrors_the_item(scale: float, degrees: float) -> None:
    image = picture(50, 70)
    mask = image[..., 0] // 70
    plain = place(image, mask, (50, 70), 40, Drawn(False, scale, degrees, (0.3, 0.6)))
    flipped = place(image, mask, (50, 70), 40, Drawn(True, scale, degrees, (0.3, 0.6)))
    assert (flipped.image.int() - plain.image.flip(2).int()).abs().max() <= 1
    assert (flipped.mask != plain.mask.flip(1)).float().mean() < 0.01
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(flipped.placement.theta(), plain.placement.theta() @ mirror, rtol=1e-4, atol=1e-5)


@given(st.floats(-180, 180), st.integers(4, 40), st.integers(4, 40), SHARES)
def test_rotation_turns_about_the_centre(degrees: float, height: int, width: int, share: float) -> None:
    """Second implementation: complex numbers turn points back. With a share of a half nothing is shifted."""
    a, b, c, d, e, f = rotation(degrees, (height, width), 80, (share, share))
    turn = cmath.exp(1j * math.radians(degrees))
    for point in (0j, 3 + 1j, 40 + 40j):
        x, y = point.real, point.imag
        moved = complex(a * x + b * y + c, d * x + e * y + f)
        origin = complex(c, f)
        assert moved - origin == pytest.approx(point * turn, abs=1e-9)
    inverse = np.linalg.inv([[a, b], [d, e]])
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) - [c, f]
    assert ((corners @ inverse.T > -1e-6) & (corners @ inverse.T < 80 + 1e-6)).all()  # the canvas holds all of it


@pytest.mark.parametrize("degrees", [0.0, 14.0])
def test_where_a_crop_lies_is_even(degrees: float) -> None:
    """Of a large picture, and of a small one on its padding."""
    for scaled in (30, 130):
        offsets = [rotation(degrees, (scaled, scaled), 60, (0.0, share))[2] for share in np.linspace(0, 0.999, 101)]
        steps = np.diff(offsets)
        assert steps.min() >= 0 if scaled > 60 else steps.max() <= 0
        lost = abs(offsets[-1] - offsets[0]) / math.cos(math.radians(degrees))
        canvas = scaled * (math.cos(math.radians(degrees)) + math.sin(math.radians(degrees)))
        assert lost == pytest.approx(abs(canvas - 60), abs=1.5)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("degrees", [0.0, -11.0])
@pytest.mark.parametrize("scale", [0.7, 1.0, 1.45])
def test_masks_are_read_under_the_centre_of_each_pixel(flip: bool, degrees: float, scale: float) -> None:
    """Second implementation: a mask of column numbers says what was read; the placement, what should have been."""
    mask = np.tile(np.arange(120, dtype=np.uint8), (90, 1))
    image = np.zeros((90, 120, 3), dtype=np.uint8)
    found = place(image, mask, (90, 120), 61, Drawn(flip, scale, degrees, (0.4, 0.7)))
    rows, columns = np.mgrid[0:61, 0:61] + 0.5
    a, b, c, _, _, _ = found.placement.affine
    x = a * columns + b * rows + c
    read = found.mask.numpy().astype(int)
    inside = (read != IGNORE_INDEX) & (np.abs(x - np.round(x)) > 1e-6)
    assert inside.sum() > 800
    np.testing.assert_array_equal(read[inside], np.floor(x[inside]))


@given(PIXELS, PIXELS, st.integers(1, 80), st.floats(0.3, 3), st.floats(-20, 20), SHARES, SHARES)
def test_any_item_is_whole(
    height: int, width: int, size: int, scale: float, degrees: float, down: float, across: float
) -> None:
    image, mask = np.full((height, width, 3), 200, dtype=np.uint8), np.full((height, width), 7, dtype=np.uint8)
    image.flags.writeable = mask.flags.writeable = False  # as a store hands them out
    found = place(image, mask, (height * 3, width * 3), size, Drawn(True, scale, degrees, (down, across)))
    assert found.image.shape == (3, size, size) and found.mask.shape == (size, size)
    assert found.image.is_contiguous() and found.mask.is_contiguous()
    inside = found.mask == 7
    assert (inside | (found.mask == IGNORE_INDEX)).all()
    assert (found.image[:, inside] == 200).all() and (found.image[0][~inside] == 124).all()
