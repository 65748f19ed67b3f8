"""Pictures of a survey: every class has its bars, and one is drawn however odd the data."""

from __future__ import annotations

import numpy as np
import pytest
from test_survey_table import content, counts

from snowmelt.reporting import classes_figure, contact_sheet, sizes_figure
from snowmelt.reporting.survey_plots import COLUMNS, GAP, TILE


def test_each_class_has_a_bar_for_each_split_with_masks() -> None:
    figure = classes_figure(content(4))
    pixels, images, ratio = figure.axes
    widths = [bar.get_width() for bar in pixels.patches]
    assert widths == pytest.approx([25.0] * 4 + [0.0] * 4)
    assert [bar.get_width() for bar in images.patches] == [100.0] * 4 + [0.0] * 4
    assert len(ratio.lines) == 1  # nothing to compare but the line at 1: val has none of them
    assert [label.get_text() for label in pixels.get_yticklabels()] == [f"class {i}" for i in range(4)]


def test_splits_are_compared_by_what_they_have_of_an_image() -> None:
    what = content(2)
    what["classes"][1]["splits"] = {"train": counts(0.2, 8), "val": counts(0.1, 2)}
    ratio = classes_figure(what).axes[2]
    interval, point, _ = ratio.lines
    assert point.get_xdata() == pytest.approx([0.5])
    spread = 2 * np.hypot(0.01 / 0.2, 0.01 / 0.1)
    assert interval.get_xdata() == pytest.approx(0.5 * np.exp([-spread, spread]))
    low, high = ratio.get_xlim()
    assert low < interval.get_xdata()[0] < 1 < high


def test_pictures_of_one_size_are_one_dot() -> None:
    same = np.tile([[40, 60]], (9, 1))
    axes = sizes_figure({"train": same, "val": np.array([[50, 30]])}, 256).axes[0]
    train, val = axes.collections
    assert train.get_offsets().tolist() == [[60, 40]]
    assert val.get_offsets().tolist() == [[30, 50]]
    assert axes.get_xlim()[1] > 256


def test_a_sheet_has_rows_of_four() -> None:
    wide, tall = np.zeros((10, 40, 3), np.uint8), np.zeros((80, 20, 3), np.uint8)
    tiles = [("what it is", "a very long name of a file " * 4, each) for each in (wide, tall, wide, tall, wide)]
    sheet = np.asarray(contact_sheet(tiles))
    assert sheet.shape[1] == GAP + COLUMNS * (TILE + GAP)
    assert sheet.shape[0] > 2 * TILE
    below = sheet[sheet.shape[0] // 2 :]
    assert (below[:, TILE + 2 * GAP :] == 255).all()  # one tile in the second row
    assert (below[:, :TILE] < 255).any()
