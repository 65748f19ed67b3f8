"""Pictures of an evaluation: what is drawn is what was measured, also for 60 classes, one class and nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluated import evaluated
from PIL import Image

from snowmelt.reporting import draw_evaluation
from snowmelt.reporting.evaluation_plots import confusion_figure, groups_figure, iou_by_class_figure, reliability_figure

FILES = {"iou_by_class.png", "confusion.png", "confusion_teacher.png", "reliability.png", "groups.png"}


@pytest.mark.parametrize("teacher", [True, False])
def test_every_picture_is_written_whole(tmp_path: Path, teacher: bool) -> None:
    paths = draw_evaluation(tmp_path, evaluated(teacher=teacher))
    names = FILES if teacher else FILES - {"confusion_teacher.png"}
    assert {path.name for path in paths} == {path.name for path in tmp_path.iterdir()} == names
    for path in paths:
        assert np.asarray(Image.open(path).convert("L")).std() > 5


def test_bars_are_the_students_and_marks_the_teachers() -> None:
    content = evaluated(classes=4)
    content["student"]["iou"] = {"background": 0.3, "class_1": 0.9, "class_2": None, "class_3": 0.6}
    content["teacher"]["iou"] = {"background": 0.4, "class_1": 0.8, "class_2": 0.1, "class_3": None}
    [axes] = iou_by_class_figure(content).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["class_1", "class_3", "background", "class_2"]
    assert [bar.get_width() for bar in axes.patches] == [0.9, 0.6, 0.3, 0.0]
    marks = axes.collections[0].get_offsets()
    assert [tuple(map(float, each)) for each in marks] == [(0.8, 0.0), (0.4, 2.0), (0.1, 3.0)]
    assert [text.get_text() for text in axes.texts] == ["absent"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the best on top


def test_confusion_is_in_shares_of_the_truth() -> None:
    content = evaluated()
    content["student"]["confusion"] = [[6, 2, 0], [1, 0, 3], [0, 0, 0]]
    axes = confusion_figure(content, "student").axes[0]
    shares = np.ma.filled(axes.images[0].get_array().astype(float), np.nan)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0.25, 0, 0.75], [np.nan] * 3])
    assert [text.get_text() for text in axes.texts] == ["75", "25", "25", "75"]


def test_sixty_classes_can_be_read() -> None:
    """Labels do not overlap: each row is at least as high as its letters."""
    content = evaluated(classes=60)
    for figure in (iou_by_class_figure(content), confusion_figure(content, "teacher")):
        figure.canvas.draw()
        axes = figure.axes[0]
        boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
        assert len(boxes) == 60
        heights = sorted(box.y0 for box in boxes)
        assert min(np.diff(heights)) >= max(box.height for box in boxes) * 0.95
        assert all(box.x0 >= 0 for box in boxes)
    assert not figure.axes[0].texts


def test_reliability_leaves_empty_bins_out() -> None:
    upper, lower = reliability_figure(evaluated()).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in upper.lines}
    assert lines["student, ECE 0.032"] == [[0.9, 0.8]]
    assert len(lines) == 3
    assert len(lower.patches) == 30


def test_groups_of_nothing_are_empty() -> None:
    sizes, lights = groups_figure(evaluated(by_size=[])).axes
    assert not sizes.patches
    assert [bar.get_height() for bar in lights.patches] == [0.4, 0.4, 0.5, 0.5]
    assert lights.get_xticklabels()[0].get_text() == "dark\n3.2 to 40\n7 images"
