from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmelt.data.scene_figures import PARTS
from snowmelt.data.scenes import ScenesSource, render_scene
from snowmelt.errors import SnowmeltError

GOLDEN_COUNTS = [27760, 751, 347, 2133, 1630, 147]
GOLDEN_HASH = "3444294f0bb8b37f"


def test_a_scene_depends_on_seed_and_number_alone() -> None:
    first = ScenesSource(4, seed=3, size=48)
    again = ScenesSource(9, seed=3, size=48)
    again.load(7)
    for index in (2, 0):
        np.testing.assert_array_equal(first.load(index).image, again.load(index).image)
        np.testing.assert_array_equal(first.load(index).mask, again.load(index).mask)
    assert (first.load(0).image != first.load(1).image).any()
    assert (first.load(0).image != ScenesSource(4, seed=4, size=48).load(0).image).any()


def test_global_generators_are_neither_read_nor_moved() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr,index]
    image = ScenesSource(1, 0, 32).load(0).image
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[index]
    np.random.seed(2)
    np.testing.assert_array_equal(ScenesSource(1, 0, 32).load(0).image, image)


def test_golden_labels() -> None:
    """The embedded data are part of published results: a change of the drawing must be on purpose."""
    labels = np.stack([render_scene(0, number, 64)[1] for number in range(8)])
    assert np.bincount(labels.ravel(), minlength=6).tolist() == GOLDEN_COUNTS
    assert hashlib.sha256(labels.tobytes()).hexdigest()[:16] == GOLDEN_HASH


def test_first_shifts_the_numbers() -> None:
    whole, rest = ScenesSource(6, 0, 32), ScenesSource(2, 0, 32, first=4)
    np.testing.assert_array_equal(whole.load(5).image, rest.load(1).image)
    assert whole.name(5) == rest.name(1) == rest.load(1).name == "scene-000005"


def test_the_binary_variant_is_the_union_of_the_parts() -> None:
    binary, parts = ScenesSource(3, 0, 64), ScenesSource(3, 0, 64, variant="parts")
    assert binary.classes == ("background", "person") and parts.classes == PARTS and len(PARTS) == 6
    for index in range(3):
        np.testing.assert_array_equal(binary.load(index).image, parts.load(index).image)
        np.testing.assert_array_equal(binary.load(index).mask, parts.load(index).mask > 0)


def test_every_class_occurs_and_background_prevails() -> None:
    source = ScenesSource(40, 1, 64, variant="parts")
    shares = np.bincount(np.concatenate([source.load(i).mask.ravel() for i in range(40)]), minlength=6) / (40 * 64**2)
    assert 0.7 < shares[0] < 0.95
    assert (shares[1:] > 0.002).all()


def test_colour_alone_does_not_tell_people_from_the_rest() -> None:
    """The best guess by colour, over 8 x 8 x 8 bins learnt on the same pixels, beats "all background" by little."""
    source = ScenesSource(60, 2, 64)
    samples = [source.load(index) for index in range(60)]
    colours = np.concatenate([sample.image.reshape(-1, 3) // 32 for sample in samples]).astype(int)
    person = np.concatenate([sample.mask.ravel() for sample in samples])
    bins = colours @ np.array([64, 8, 1])
    share = np.bincount(bins, weights=person, minlength=512) / np.maximum(np.bincount(bins, minlength=512), 1)
    guess = share[bins] > 0.5
    intersection, union = (guess & (person == 1)).sum(), (guess | (person == 1)).sum()
    assert intersection / union < 0.2


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), number=st.integers(0, 10**6), size=st.sampled_from([16, 33, 64]))
def test_any_scene_is_well_formed(seed: int, number: int, size: int) -> None:
    image, labels = render_scene(seed, number, size)
    assert image.shape == (size, size, 3) and image.dtype == np.uint8
    assert labels.shape == (size, size) and labels.dtype == np.uint8 and labels.max() < 6


@pytest.mark.parametrize(
    "arguments",
    [{"count": 0}, {"size": 8}, {"seed": -1}, {"variant": "animals"}],
)
def test_impossible_scenes(arguments: dict[str, object]) -> None:
    with pytest.raises(SnowmeltError, match="scenes: "):
        ScenesSource(**{"count": 2, "seed": 0, **arguments})  # type: ignore[arg-type]


def test_a_description_and_a_range() -> None:
    source = ScenesSource(2, 0, 32)
    source.check()
    assert "2 embedded scenes" in source.describe() and len(source) == 2
    with pytest.raises(IndexError):
        source.load(2)
