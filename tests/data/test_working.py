from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from snowmelt.data.geometry import fitted_size
from snowmelt.data.images import read_image, read_reduced
from snowmelt.data.samples import Sample, SubsetSource
from snowmelt.data.unlabelled import JoinedSource, UnlabelledSource
from snowmelt.data.working import load_working, reduce

SIDE = 100


def photograph(path: Path, height: int, width: int, orientation: int = 1) -> Path:
    """A smooth JPEG as a camera would leave it."""
    rows, columns = np.mgrid[0:height, 0:width] / max(height, width)
    planes = [np.sin(6 * rows + k) * np.cos(5 * columns + 2 * k) for k in range(3)]
    image = Image.fromarray(np.round(127 + 110 * np.stack(planes, axis=2)).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, quality=95, exif=exif)
    return path


@pytest.mark.parametrize(
    ("height", "width", "decoded"),
    [
        (150, 200, (150, 200)),  # twice as large is not yet worth it
        (151, 201, (76, 101)),
        (300, 400, (75, 100)),
        (302, 403, (76, 101)),
        (600, 801, (75, 101)),
        (2000, 900, (250, 113)),  # an eighth is the least there is
        (30, 410, (8, 103)),
    ],
)
def test_large_photographs_are_decoded_small_but_never_too_small(
    tmp_path: Path, height: int, width: int, decoded: tuple[int, int]
) -> None:
    path = photograph(tmp_path / "a.jpg", height, width)
    image, shape = read_reduced(path, SIDE)
    assert shape == (height, width) and image.shape[:2] == decoded
    least = fitted_size(height, width, SIDE)
    assert image.shape[0] >= min(least[0], height) and image.shape[1] >= min(least[1], width)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_photograph_decoded_small_looks_as_the_whole_one_reduced(tmp_path: Path, orientation: int) -> None:
    path = photograph(tmp_path / "a.jpg", 480, 810, orientation)
    image, shape = read_reduced(path, SIDE)
    whole = read_image(path)
    assert whole.shape[:2] == shape == ((810, 480) if orientation > 4 else (480, 810))
    mask = np.zeros(shape, dtype=np.uint8)
    quick, exact = reduce(Sample(image, mask, "a"), SIDE), reduce(Sample(whole, mask, "a"), SIDE)
    assert quick.origin == exact.origin == shape
    assert quick.image.shape == exact.image.shape == (*fitted_size(*shape, SIDE), 3)
    assert np.abs(quick.image.astype(int) - exact.image).max() <= 6
    assert np.abs(quick.image.astype(int) - exact.image).mean() < 1


def test_other_files_are_read_whole(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image, shape = read_reduced(tmp_path / "a.png", SIDE)
    np.testing.assert_array_equal(image, pixels)
    assert shape == (300, 500)


def test_what_is_small_stays_as_it_is() -> None:
    sample = Sample(np.ones((40, 100, 3), dtype=np.uint8), np.ones((40, 100), dtype=np.uint8), "a")
    working = reduce(sample, SIDE)
    assert working.image is sample.image and working.mask is sample.mask and working.origin == (40, 100)


def test_masks_are_read_at_pixel_centres() -> None:
    labels = np.arange(12, dtype=np.uint8)
    mask = np.tile(labels, (9, 1))
    found = reduce(Sample(np.zeros((9, 12, 3), dtype=np.uint8), mask, "a"), 4).mask
    assert found.shape == (3, 4) and found.tolist() == [[1, 4, 7, 10]] * 3


def test_scores_see_photographs_as_they_are(tmp_path: Path) -> None:
    """Exact working pictures never come from a decoder's shortcut, whatever lies around the source."""
    photograph(tmp_path / "a.jpg", 480, 810)
    photograph(tmp_path / "b.jpg", 410, 300)
    source = UnlabelledSource(tmp_path)
    joined = JoinedSource(SubsetSource(source, [1]), source)
    for found in (source, SubsetSource(source, [0, 1])):
        whole = reduce(source.load(0), SIDE)
        exact, quick = load_working(found, 0, SIDE, exact=True), load_working(found, 0, SIDE)
        np.testing.assert_array_equal(exact.image, whole.image)
        assert not np.array_equal(quick.image, whole.image)
        assert quick.origin == exact.origin == (480, 810)
    for index, position in enumerate((1, 0, 1)):
        for exactly in (False, True):
            expected = load_working(source, position, SIDE, exactly)
            found = load_working(joined, index, SIDE, exactly)
            np.testing.assert_array_equal(found.image, expected.image)
            np.testing.assert_array_equal(found.mask, expected.mask)


def test_a_source_that_knows_no_shortcut_is_read_whole() -> None:
    class Plain:
        classes = ("a", "b")

        def load(self, index: int) -> Sample:
            return Sample(np.zeros((300, 400, 3), dtype=np.uint8), np.zeros((300, 400), dtype=np.uint8), "a")

    working = load_working(Plain(), 0, SIDE)  # type: ignore[arg-type]
    assert working.image.shape == (75, 100, 3) and working.origin == (300, 400)
    assert torch.from_numpy(working.image).is_contiguous()
