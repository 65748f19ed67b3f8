"""The picture of a comparison: everything in it, nothing over anything else, whatever is lacking."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from compared_arms import NAMES, compared
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from snowmelt.reporting.comparison_plot import comparison_figure, draw_comparison

LONG = "an-arm-with-a-name-of-sixty-characters-which-is-what-is-allowed-"


@pytest.mark.parametrize("arms", [2, 9])
@pytest.mark.parametrize("base", ["plain", "ten-letter", "eleven-char", LONG])
@pytest.mark.parametrize("alone", [0, 1])
def test_no_label_lies_over_another(arms: int, base: str, alone: int) -> None:
    content = compared(arms, names={0: base, 1: f"{LONG[:-1]}+"})
    for difference in list(content["differences"].values())[:alone]:  # of nine arms, so both kinds are there
        difference["seeds"] = 1
    figure = comparison_figure(content)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    for axes in figure.axes:
        legend = axes.get_legend()
        texts = [*axes.get_xticklabels(), *axes.get_yticklabels(), *legend.get_texts(), axes.xaxis.label]
        boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
        assert len(boxes) > arms
        for first, second in combinations(boxes, 2):
            assert not first.overlaps(second)
        assert not legend.get_window_extent(renderer).overlaps(axes.get_window_extent(renderer).shrunk(0.98, 0.98))
        for box in boxes:
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1


def test_points_means_and_intervals_are_those_of_the_comparison() -> None:
    content = compared(3)
    scores, curves = comparison_figure(content).axes
    points = [sorted(each.get_offsets()[:, 0]) for each in scores.collections]
    by_arm = [sorted(run["miou"] for run in content["runs"] if run["arm"] == row["arm"]) for row in content["arms"]]
    assert np.allclose(points, by_arm)
    lines = [tuple(line.get_xdata()) for line in scores.lines]
    base = content["arms"][0]["miou"]
    for row in content["arms"][1:]:
        assert any(np.allclose(ends, (base + row["low"], base + row["high"])) for ends in lines)
    labels = [text.get_text() for text in curves.get_legend().get_texts()]
    assert labels == [*NAMES[:3], "teacher"]
    means = [line for line in curves.lines if line.get_label() in NAMES]
    assert [line.get_ydata()[-1] for line in means] == pytest.approx([row["val_miou"] for row in content["arms"]])


def test_an_interval_of_the_images_alone_looks_and_is_called_different() -> None:
    content = compared(3)
    content["differences"]["cooled"]["seeds"] = 1
    axes = comparison_figure(content).axes[0]
    base = content["arms"][0]["miou"]
    bars = [
        next(line for line in axes.lines if np.allclose(line.get_xdata(), (base + row["low"], base + row["high"])))
        for row in content["arms"][1:]
    ]
    assert [bar.get_linestyle() for bar in bars] == ["-", "--"]
    assert bars[0].get_alpha() is None
    assert bars[1].get_alpha() < 1
    legend = axes.get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    usual = "95 % interval of the difference to plain"
    alone = f"{usual},\nof the images alone (one seed)"
    assert {usual, alone} <= set(names)
    handles = dict(zip(names, legend.get_lines(), strict=True))
    assert handles[alone].get_linestyle() == "--"
    assert handles[usual].get_linestyle() == "-"
    one = [text.get_text() for text in comparison_figure(compared(3, seeds=1)).axes[0].get_legend().get_texts()]
    assert alone in one
    assert usual not in one


def test_arms_are_told_apart_without_colour_where_colours_come_again() -> None:
    curves = comparison_figure(compared(9)).axes[1]
    looks = {(line.get_color(), line.get_linestyle()) for line in curves.lines if line.get_label() in NAMES}
    assert len(looks) == 9


def test_it_is_drawn_without_a_teacher_and_with_scores_that_are_not_there(tmp_path: Path) -> None:
    content = compared(2, teacher=False, seeds=1)
    content["runs"][0]["val_curve"][3] = None
    draw_comparison(tmp_path / "comparison.png", content)
    with Image.open(tmp_path / "comparison.png") as picture:
        assert picture.width == 990
    assert [path.name for path in tmp_path.iterdir()] == ["comparison.png"]
