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


@pytest.mark.parametrize("arms", [2, 9])
def test_no_label_lies_over_another(arms: int) -> None:
    figure = comparison_figure(
        compared(arms, names={1: "an-arm-with-a-name-of-sixty-characters-which-is-what-is-allowed-"})
    )
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
