from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from made_pages import fill

from snowmelt.reporting import RunFolder, draw_plots
from snowmelt.reporting.class_figures import class_figures, classes_figure, confusion_figure

CONTENT: dict[str, Any] = {
    "epoch": 3,
    "classes": ["low", "$high$", "gone", "a name that is far too long for an axis"],
    "student": {
        "iou": {"low": 0.2, "$high$": 0.9, "gone": None, "a name that is far too long for an axis": 0.5},
        "confusion": [[75, 25, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0], [0, 0, 0, 4]],
    },
    "teacher": {"iou": {"low": 0.4, "$high$": 0.8, "gone": None, "a name that is far too long for an axis": 0.6}},
}


def test_both_are_drawn_beside_the_others(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    paths = draw_plots(fill(folder, fake_run()))
    assert [path.name for path in paths][3:] == ["classes.png", "confusion.png"]
    folder.validation_file.write_text('{"cut')
    assert len(draw_plots(folder)) == 3


def test_no_file_no_figure(tmp_path: Path) -> None:
    assert class_figures(tmp_path / "validation.json") == {}


def test_the_best_class_is_on_top() -> None:
    axes = classes_figure(CONTENT).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()][::3] == ["gone", r"\$high\$"]
    teacher, student = axes.get_lines()
    assert np.nan_to_num(student.get_xdata(), nan=-1).tolist() == [-1, 0.2, 0.5, 0.9]
    assert np.nan_to_num(teacher.get_xdata(), nan=-1).tolist() == [-1, 0.4, 0.6, 0.8]
    alone = classes_figure({**CONTENT, "teacher": None}).axes[0]
    assert len(alone.get_lines()) == 1


def test_cells_are_percent_of_the_row_and_names_are_no_formulas() -> None:
    figure = confusion_figure(CONTENT)
    figure.savefig(io.BytesIO(), dpi=40)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["75", "25", "0", "0", "0", "100", "0", "0", "0", "0", "0", "100"]  # a row of zeros has none
