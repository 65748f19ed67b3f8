"""The data behind the page's plots: what Plotly accepts, and what they show."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import plotly.graph_objects as go
import pytest
from made_pages import evaluation, fill

from snowmelt.reporting import RunFolder
from snowmelt.reporting.page.class_plots import confusion_plot, confusions, iou_plot, reliability_plot, shares_of
from snowmelt.reporting.page.curve_plots import curve_plots
from snowmelt.reporting.page.marks import Plot, plain, thaw_marks
from snowmelt.reporting.page.plan_plot import FROZEN, LEARNS, WAITS, plan_plot, staircase
from snowmelt.reporting.page.reading import Sheet, read_run


def sheet_of(content: dict[str, Any]) -> Sheet:
    return Sheet("x", "test", 16, tuple(content["classes"]), content["student"], content["teacher"], rest=content)


def checked(plot: Plot | None) -> go.Figure:
    """The plot as Plotly's own classes take it: unknown properties and impossible values are refused there."""
    assert plot is not None
    text = json.dumps([plot.traces, plot.layout], allow_nan=False)
    for name in ("student", "teacher", "ink", "muted", "rule", "paper", "warm", "ice", "held", "hot", "cool"):
        text = text.replace(f'"--{name}"', '"#123456"')
    for index in range(7):
        text = text.replace(f'"--line{index}"', '"#123456"').replace(f'"--cell{index}"', '"#123456"')
    traces, layout = json.loads(text)
    return go.Figure(data=traces, layout=layout)


@pytest.mark.parametrize("teacher", [True, False])
def test_plotly_knows_everything_they_say(folder: RunFolder, fake_run: Callable[..., Any], teacher: bool) -> None:
    content = read_run(fill(folder, fake_run(teacher=teacher, classes=3)))
    names = [plot.name for plot in curve_plots(content)]
    assert names == ["loss", "miou", "rates", *(["agreement"] if teacher else [])]
    for plot in (plan_plot(content), *curve_plots(content), iou_plot(content.sheets[0])):
        checked(plot)
    evaluated = sheet_of(evaluation(["a", "b", "c"]))
    for plot in (iou_plot(evaluated), confusion_plot(evaluated), reliability_plot(evaluated)):
        checked(plot)


def test_the_staircase_shows_what_happened_and_then_what_is_planned() -> None:
    plan = [{"epoch": epoch, "thawed_blocks": count} for epoch, count in enumerate([0, 1, 2, 2, 2])]
    happened = [{"epoch": epoch, "thawed_blocks": count} for epoch, count in enumerate([0, 1, 1])]
    decoder, deepest, next_one, last = staircase(plan, happened, 3)
    assert decoder == [LEARNS] * 5
    assert deepest == [FROZEN, LEARNS, LEARNS, LEARNS, LEARNS]
    assert next_one == [FROZEN, FROZEN, WAITS, LEARNS, LEARNS]
    assert last == [FROZEN] * 5


def test_where_the_run_is(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    plot = plan_plot(read_run(fill(folder, fake_run(), done=3)))
    assert plot is not None
    assert [shape["x0"] for shape in plot.layout["shapes"]] == [2.5, 2.5]
    assert plot.layout["annotations"][0]["text"] == "now: 3 of 6 epochs done"
    assert "blocks.6 from epoch 2" in plot.alt
    whole = read_run(folder)
    ended = plan_plot(replace(whole, record={"reason": "max_steps", "step": 6}))
    assert ended is not None
    assert ended.layout["shapes"] == []


def test_a_thaw_that_was_held_is_said_with_its_reason(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    content = read_run(fill(folder, fake_run()))
    rows = [{**row, "thawed_blocks": min(int(str(row["thawed_blocks"])), 1)} for row in content.metrics]
    reactions = {"reactions": {"thaw_guard": True, "memory": "off"}}
    plot = plan_plot(replace(content, metrics=rows, settings=reactions))
    assert plot is not None
    assert "thaw guard" in plot.note
    assert "memory" not in plot.note
    assert [key.label for key in plot.keys][2] == "planned to learn, but held"


def test_thaws_are_marked_where_more_learns() -> None:
    rows = [{"epoch": epoch, "thawed_blocks": count} for epoch, count in enumerate([0, 0, 1, 1, 3, 3])]
    marks = thaw_marks(rows, 6, labels=True)
    assert [shape["x0"] for shape in marks["shapes"]] == [1.5, 3.5]
    assert [note["text"] for note in marks["annotations"]] == ["1", "3"]


def test_a_return_to_an_earlier_epoch_is_marked_where_the_run_went_on() -> None:
    rows = [
        {"epoch": epoch, "thawed_blocks": 0, "rollbacks": count} for epoch, count in enumerate([None, None, 1, 1, 3])
    ]
    shapes = thaw_marks(rows, 5)["shapes"]
    assert [(shape["x0"], shape["line"]["dash"]) for shape in shapes] == [(1.5, "solid"), (3.5, "solid")]
    assert [shape["x0"] for shape in thaw_marks(rows[2:], 5)["shapes"]] == [1.5, 3.5]


def test_rates_begin_where_a_block_learns(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    content = read_run(fill(folder, fake_run()))
    [plot] = [plot for plot in curve_plots(content) if plot.name == "rates"]
    assert [key.label for key in plot.keys] == ["decoder", "blocks.6 to blocks.3"]  # four of seven thaw in six epochs
    assert [value is None for value in plot.traces[1]["y"]] == [True, True, False, False, False, False]
    rows = [dict(row) for row in content.metrics]
    rows[-1]["lr/blocks.5"] = 1e-9  # a guard slowed it down
    [plot] = [plot for plot in curve_plots(replace(content, metrics=rows)) if plot.name == "rates"]
    assert len(plot.keys) == 3


def test_a_decoder_at_the_rate_of_its_blocks_is_drawn_in_dashes_on_top(
    folder: RunFolder, fake_run: Callable[..., Any]
) -> None:
    content = read_run(fill(folder, fake_run()))
    rows = [{**row, **{name: row["lr/decoder"] for name in row if name.startswith("lr/")}} for row in content.metrics]
    [plot] = [plot for plot in curve_plots(replace(content, metrics=rows)) if plot.name == "rates"]
    assert [(key.label, key.dash) for key in plot.keys] == [("decoder", "dash"), ("blocks.6 to blocks.3", "solid")]
    assert [(trace["name"], trace["line"]["dash"]) for trace in plot.traces] == [
        ("blocks.6 to blocks.3", "solid"),
        ("decoder", "dash"),
    ]
    assert [plot.traces[key.traces[0]]["name"] for key in plot.keys] == [key.label for key in plot.keys]


def test_weights_that_move_have_a_plot(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    content = read_run(fill(folder, fake_run()))
    rows = [{**row, "alpha": 0.1 * index, "weights/kl": 1.0} for index, row in enumerate(content.metrics)]
    plots = {plot.name: plot for plot in curve_plots(replace(content, metrics=rows))}
    assert [key.label for key in plots["weights"].keys] == ["alpha"]


def test_classes_are_sorted_by_the_student_and_absent_ones_are_named() -> None:
    content = evaluation(["low", "high", "gone"])
    content["student"]["iou"] = {"low": 0.2, "high": 0.9, "gone": None}
    content["teacher"]["iou"] = {"low": 0.5, "high": 0.8, "gone": None}
    plot = iou_plot(sheet_of(content))
    assert plot is not None
    assert plot.layout["yaxis"]["ticktext"] == ["low", "high"]  # an axis counts from below
    assert plot.traces[3]["x"] == pytest.approx([-0.3, 0.1])
    assert plot.note == "Bars: student minus teacher. Neither in the truth nor predicted: gone."
    assert "furthest behind its teacher in low (-0.300)" in plot.alt


def test_confusions_are_shares_of_the_true_class() -> None:
    content = evaluation(["a", "b"])
    content["student"]["confusion"] = [[75, 25], [0, 0]]
    sheet = sheet_of(content)
    assert shares_of(sheet) == [[0.75, 0.25], [None, None]]
    assert confusions(sheet) == ["25 % of a is taken for b"]
    plot = confusion_plot(sheet)
    assert plot is not None
    assert plot.traces[0]["z"] == [[75.0, 25.0], [None, None]]


def test_plain_text_is_text() -> None:
    assert plain("<b>&amp;") == "&lt;b&gt;&amp;amp;"
    assert plain("a\nb\x00c") == "a b c"
    assert plain("x" * 30, 10) == "x" * 9 + "\N{HORIZONTAL ELLIPSIS}"
