"""The hash of pictures: near for copies, far for others, and all near pairs are found."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from snowmelt.data import ScenesSource
from snowmelt.data.survey import likeness
from snowmelt.data.survey.likeness import ALIKE, NEAR, near_pairs, picture_hash, resemblance


def copied(picture: np.ndarray, scale: float = 1.0, quality: int = 60) -> np.ndarray:
    """The picture as a program would have saved it again."""
    image = Image.fromarray(picture)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer))


def distance(first: np.ndarray, second: np.ndarray) -> int:
    return int(np.bitwise_count(picture_hash(first)[0] ^ picture_hash(second)[0]).sum())


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_copies_are_near_and_other_scenes_are_not(scale: float) -> None:
    scenes = ScenesSource(12, 3, 128)
    pictures = [scenes.load(index).image for index in range(len(scenes))]
    for position, picture in enumerate(pictures):
        again = copied(picture, scale)
        assert distance(picture, again) <= NEAR
        assert resemblance(picture, again) >= ALIKE
        other = pictures[position - 1]
        assert distance(picture, other) > NEAR
        assert resemblance(picture, other) < ALIKE


def test_a_hash_holds_one_bit_for_each_pair_of_neighbours() -> None:
    ramp = np.repeat(np.arange(0, 255, 5, dtype=np.uint8)[None, :, None], 51, axis=0).repeat(3, axis=2)
    assert np.unpackbits(picture_hash(ramp)[0]).sum() == 256
    assert np.unpackbits(picture_hash(np.ascontiguousarray(ramp[:, ::-1]))[0]).sum() == 0


def test_a_blank_page_is_flat_and_resembles_itself() -> None:
    page = np.full((30, 40, 3), 250, np.uint8)
    assert picture_hash(page)[1]
    assert not picture_hash(ScenesSource(1, 0, 64).load(0).image)[1]
    assert resemblance(page, page) == 1.0


def test_all_near_pairs_are_found_over_the_borders_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_BLOCK", 3)
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    for target, source, bits in ((5, 40, 1), (59, 0, 32), (17, 18, 33), (30, 31, 0), (24, 2, 7)):
        flipped = np.unpackbits(hashes[source])
        flipped[rng.permutation(256)[:bits]] ^= 1
        hashes[target] = np.packbits(flipped)
    expected = []
    for first in range(60):
        for second in range(first + 1, 60):
            bits = int(np.unpackbits(hashes[first] ^ hashes[second]).sum())
            if bits <= NEAR:
                expected.append((first, second, bits))
    assert near_pairs(hashes) == expected
    assert [pair[:2] for pair in expected] == [(0, 59), (2, 24), (5, 40), (30, 31)]
