from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import class_colors, class_legend, color_mask, error_map, overlay_mask, prediction_panel


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_colors_are_stable_and_distinct(few: int, many: int) -> None:
    few, many = sorted((few, many))
    assert np.array_equal(class_colors(few), class_colors(many)[:few])
    assert len({tuple(color) for color in class_colors(many).tolist()}) == many


def test_color_mask_and_hatch() -> None:
    mask = np.full((20, 20), 255, np.uint8)
    mask[0, :3] = [0, 1, 2]
    colored = color_mask(mask, 3)
    assert np.array_equal(colored[0, :3], class_colors(3))
    ignored = colored[1:].reshape(-1, 3)
    assert (ignored == ignored[:, :1]).all()  # grey
    assert len(np.unique(ignored[:, 0])) == 2  # hatched
    palette = class_colors(3).tolist()
    assert not any(color in palette for color in np.unique(ignored, axis=0).tolist())


def test_overlay_blends_with_the_grey_image() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    shown = overlay_mask(image, np.array([[0, 1], [1, 255]]), 2, alpha=0.5)
    assert shown[0, 1].tolist() == [165, 130, 50]
    assert shown[1, 1].tolist() == color_mask(np.full((2, 2), 255), 2)[1, 1].tolist()
    assert shown.dtype == np.uint8


def test_error_map_tells_the_two_kinds_apart() -> None:
    truth = np.array([[0, 1, 1, 2, 0, 255]])
    guess = np.array([[0, 1, 0, 1, 2, 1]])
    shown = error_map(np.full((1, 6, 3), 200, np.uint8), truth, guess)
    right = [110, 110, 110]
    assert shown[0, 0].tolist() == shown[0, 1].tolist() == right
    assert shown[0, 2].tolist() == shown[0, 3].tolist() == [255, 255, 255]
    assert shown[0, 4].tolist() == [220, 38, 127]
    assert shown[0, 5].tolist() not in ([255, 255, 255], [220, 38, 127], right)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 150), (300, 30), (1, 1), (700, 500)])
def test_panel_of_any_size(height: int, width: int) -> None:
    truth = np.zeros((height, width), np.uint8)
    truth[height // 2 :] = 1
    names = ("background", "person")
    alone = prediction_panel(picture(height, width), truth, truth, names)
    taught = prediction_panel(picture(height, width), truth, truth, names, teacher=truth, caption="a photo")
    assert alone.dtype == taught.dtype == np.uint8
    assert taught.shape[1] > alone.shape[1]
    assert taught.shape[0] > 256 if height >= width else taught.shape[1] > 5 * 256


def test_panel_shows_classes_in_their_colors() -> None:
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:] = 1
    panel = prediction_panel(np.zeros((64, 64, 3), np.uint8), truth, 1 - truth, ("background", "person"), tile_size=64)
    colors = {tuple(color) for color in panel.reshape(-1, 3).tolist()}
    assert (220, 38, 127) in colors
    assert tuple(class_colors(2)[1].tolist()) in colors  # legend
    assert tuple(int(v) for v in np.round(0.6 * class_colors(2)[1])) in colors


def test_panel_fits_many_long_class_names() -> None:
    names = tuple(f"a class with quite a long name {index}" for index in range(30))
    mask = np.full((32, 32), 29, np.uint8)
    panel = prediction_panel(picture(32, 32), mask, mask, names, tile_size=64, caption="x" * 500)
    assert (panel[:, -4:] == 255).all()  # nothing runs over the right edge


def test_labels_are_drawn() -> None:
    mask = np.zeros((32, 32), np.uint8)
    one, other = (prediction_panel(picture(32, 32), mask, mask, ("background", name)) for name in ("cat", "dog"))
    assert one.shape != other.shape or not np.array_equal(one, other)


def test_mistakes_are_told() -> None:
    image, mask = picture(4, 4), np.zeros((4, 4), np.uint8)
    with pytest.raises(SnowmeltError, match="label 7, outside the classes"):
        color_mask(np.full((2, 2), 7), 3)
    with pytest.raises(SnowmeltError, match="does not fit the image"):
        overlay_mask(image, np.zeros((5, 4), np.uint8), 2)
    with pytest.raises(SnowmeltError, match="expected uint8"):
        overlay_mask(image.astype(float), mask, 2)
    with pytest.raises(SnowmeltError, match="does not fit"):
        prediction_panel(image, mask, mask[:3], ("a", "b"))


def test_a_legend_of_many_classes_has_those_that_are_to_be_seen() -> None:
    names = [f"class number {index}" for index in range(60)]
    image, few = np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8)
    many = np.arange(64 * 64).reshape(64, 64) % 60
    heights = [prediction_panel(image, few, each, names, tile_size=64).shape[0] for each in (few, many)]
    assert heights[0] < heights[1]
    assert prediction_panel(image, few, few, names[:12], tile_size=64).shape[0] > heights[0]


@pytest.mark.parametrize("count", [2, 7, 70])
def test_a_legend_alone_has_every_class(count: int) -> None:
    names = [f"a class of number {index}" for index in range(count)]
    legend = class_legend(names)
    for color in class_colors(count)[1:]:  # the background's grey is in letters, too
        swatch = np.argwhere((legend == color).all(axis=2))
        (top, left), (bottom, right) = swatch.min(axis=0), swatch.max(axis=0)
        assert bottom - top == right - left == 11  # 14 pixels, of which the outermost are the frame
        assert (legend[top : bottom + 1, right + 3 : right + 100] < 100).any()  # its name
    assert (legend == class_colors(1)[0]).all(axis=2).sum() >= 144
    other = class_legend([*names[:-1], names[-1].replace("class", "thing")])
    assert not np.array_equal(legend, other)
