from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from snowmelt.errors import SnowmeltError
from snowmelt.reporting import MetricTables, RunFolder, draw_plots
from snowmelt.reporting.plots import column, curves_figure, iou_figure, plan_figure
from snowmelt.reporting.tables import Row, metrics_row
from snowmelt.schedules import make_plan
from snowmelt.training.events import EpochEnded


def rows_of(run: object, epochs: int) -> list[Row]:
    return [metrics_row(run.record(epoch)) for epoch in range(epochs)]  # type: ignore[attr-defined]


def test_files_are_drawn_and_drawn_again(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=2, start=1)
    tables = MetricTables(folder)
    tables.receive(run.started())
    with pytest.raises(SnowmeltError, match=r"metrics\.csv"):
        draw_plots(folder)
    folder.write_plan(make_plan(run.schedules))
    for epoch in range(2):
        tables.receive(EpochEnded(run.record(epoch)))
        paths = draw_plots(folder)
    assert [path.name for path in paths] == ["plan.png", "curves.png", "iou_by_class.png"]
    for path in paths:
        assert path.parent == folder.plots
        picture = np.asarray(Image.open(path).convert("RGB"))
        assert picture.shape[1] > 800
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20


def test_plan_shows_temperature_and_staircase(fake_run: Callable) -> None:
    run = fake_run(epochs=50, start=10, every=5)
    left, right = plan_figure(rows_of(run, 50)).axes
    drawn = left.lines[0].get_ydata()
    assert list(drawn) == [run.schedules.temperature_at(epoch) for epoch in range(50)]
    stairs = right.patches[0].get_data()
    assert list(stairs.values) == [run.schedules.thawed_at(epoch) for epoch in range(50)]
    assert (stairs.edges[0], stairs.edges[-1]) == (-0.5, 49.5)


def test_plan_without_a_teacher_has_the_staircase_alone(fake_run: Callable) -> None:
    assert len(plan_figure(rows_of(fake_run(teacher=False), 6)).axes) == 1


@pytest.mark.parametrize("teacher", [True, False])
def test_curves(fake_run: Callable, teacher: bool) -> None:
    run = fake_run(teacher=teacher)
    losses, scores = curves_figure(rows_of(run, 6)).axes
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert labels[:2] == ["train total", "val total"]
    assert [text.get_text() for text in losses.texts] == ["thaw 1", "thaw 2", "thaw 3", "thaw 4"]
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["student", "teacher"][: 1 + teacher]


@pytest.mark.parametrize(
    ("epochs", "every", "said"),
    [
        (10, 4, ["thaw 2", "thaw 3"]),
        (10, 1, ["thaw 2", "thaw 3", "thaw 4"]),
        (24, 1, ["thaw", "2", "3", "4"]),
        (200, 1, ["thaw", "2", "7", "12"]),
    ],
)
def test_labels_of_thaws_do_not_touch(epochs: int, every: int, said: list[str]) -> None:
    rows: list[Row] = [
        {"epoch": epoch, "thawed_blocks": min(1 + epoch // every, 12), "train/total": 1.0, "miou": 0.5}
        for epoch in range(epochs)
    ]
    figure = curves_figure(rows)
    figure.canvas.draw()
    texts = sorted(figure.axes[0].texts, key=lambda text: text.get_window_extent().x0)
    boxes = [text.get_window_extent() for text in texts]
    assert all(one.x1 + 1 < other.x0 for one, other in pairwise(boxes))
    assert [text.get_text() for text in texts][: len(said)] == said


def test_losses_that_are_equal_are_one_line_with_both_names(fake_run: Callable) -> None:
    rows = rows_of(fake_run(), 6)
    for row in rows:
        row |= {f"{part}/{name}": 0.1 * row["epoch"] + (part == "val") for part in ("train", "val") for name in "ab"}
        row |= {"train/c": row["train/a"], "val/c": row["val/a"] + 0.001, "train/d": row["train/a"]}
    losses, _ = curves_figure(rows).axes
    labels = [text.get_text() for text in losses.get_legend().get_texts()]
    assert {"train a = b", "val a = b", "train c", "val c", "train d"} <= set(labels)
    assert len(labels) == len(losses.lines) - 4  # those of four thaws


@pytest.mark.parametrize(("epochs", "classes"), [(1, 1), (2, 2), (50, 7)])
def test_iou_by_class(fake_run: Callable, epochs: int, classes: int) -> None:
    run = fake_run(epochs=epochs, classes=classes, start=60)
    (axes,) = iou_figure(rows_of(run, epochs)).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == classes
    assert ("traffic light (absent)" in labels) == (classes > 2)


def test_column_of_nothing_is_nan() -> None:
    assert np.isnan(column([{"a": None}, {"a": 1}], "a")).tolist() == [True, False]
    assert np.isnan(column([{"a": 1}], "b")).all()
