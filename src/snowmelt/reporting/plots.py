"""Plots of a run, drawn from its tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import class_colors
from snowmelt.reporting.class_figures import class_figures
from snowmelt.reporting.csv_cells import Row
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.tables import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
WORD_ROOM, FIGURE_ROOM = 0.09, 0.024  # what a label above a plot takes of its width
LINES = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#222222")


def draw_plots(folder: RunFolder) -> list[Path]:
    """Write ``plots/plan.png``, ``curves.png`` and ``iou_by_class.png`` from what the run has logged so far.

    Beside them ``classes.png`` and ``confusion.png`` of the best weights, where ``validation.json`` is there.

    Raises:
        SnowmeltError: no epoch is logged yet.
    """
    rows = read_metrics(folder.metrics_file)
    if not rows:
        raise SnowmeltError(
            f"{folder.metrics_file}: has no epoch yet; train for one epoch before drawing", code="run-unfinished"
        )
    planned = read_metrics(folder.plan_file) if folder.plan_file.exists() else rows
    folder.plots.mkdir(parents=True, exist_ok=True)
    figures = {
        "plan.png": plan_figure(planned),
        "curves.png": curves_figure(rows),
        "iou_by_class.png": iou_figure(rows),
        **class_figures(folder.validation_file),
    }
    paths = []
    for name, figure in figures.items():
        paths.append(folder.plots / name)
        figure.savefig(paths[-1], dpi=110)
    return paths


def plan_figure(rows: Sequence[Row]) -> Figure:
    """Temperature and the staircase of thawed blocks over the epochs, on two axes."""
    figure, (axes,) = _figure(1, "Cooling and thawing")
    epochs, thawed = column(rows, "epoch"), column(rows, "thawed_blocks")
    temperature = column(rows, "temperature")
    # A step ends half-way to the next epoch, so that the last epoch's is as wide as the others.
    edges = np.append(epochs - 0.5, epochs[-1] + 0.5)
    blocks = axes
    if not np.isnan(temperature).all():
        axes.plot(epochs, temperature, color=BLUE, marker="o", markersize=_marker(len(rows)), zorder=3)
        axes.set_ylabel("temperature (line)", color=BLUE)
        axes.set_ylim(0, float(np.nanmax(temperature)) * 1.1)
        blocks = axes.twinx()
        axes.set_zorder(blocks.get_zorder() + 1)
        axes.patch.set_visible(False)
    blocks.stairs(thawed, edges, color=ORANGE, fill=True, alpha=0.25)
    blocks.stairs(thawed, edges, color=ORANGE, linewidth=1.5)
    blocks.set_ylabel("thawed blocks (steps)", color=ORANGE)
    blocks.set_ylim(0, max(float(thawed.max()), 1.0) * 1.1)
    _integers(blocks.yaxis)
    return figure


def curves_figure(rows: Sequence[Row]) -> Figure:
    """Losses by term, training solid and validation dashed, above mIoU with the teacher's; thaws are marked."""
    figure, (losses, scores) = _figure(2, "Losses and mIoU")
    epochs, marker = column(rows, "epoch"), _marker(len(rows))
    for index, terms in enumerate(curves_that_differ(rows)):
        color, width = LINES[index % len(LINES)], 2.2 if "total" in terms else 1.3
        for part, style, fill in (("train", "-", color), ("val", "--", "white")):
            if f"{part}/{terms[0]}" in rows[0]:
                losses.plot(
                    epochs,
                    column(rows, f"{part}/{terms[0]}"),
                    style,
                    color=color,
                    linewidth=width,
                    marker="o",
                    markersize=marker,
                    markerfacecolor=fill,
                    label=f"{part} {' = '.join(terms)}",
                )
    losses.set_ylabel("loss (train solid, val dashed)")
    losses.set_ylim(bottom=min(0.0, losses.get_ylim()[0]))
    scores.plot(epochs, column(rows, "miou"), color=BLUE, marker="o", markersize=marker, label="student")
    teacher = column(rows, "teacher_miou")
    if not np.isnan(teacher).all():
        scores.plot(epochs, teacher, color=GREY, linestyle="--", marker="o", markersize=marker, label="teacher")
    scores.set_ylabel("mIoU on validation")
    for axes in (losses, scores):
        _mark_thaws(axes, rows, labels=axes is losses)
        _legend(axes)
    return figure


def iou_figure(rows: Sequence[Row]) -> Figure:
    """IoU of every class over the epochs; no point where a class is absent."""
    figure, (axes,) = _figure(1, "IoU by class on validation")
    names = [name for name in rows[0] if name.startswith("iou/")]
    for name, color in zip(names, class_colors(len(names)) / 255, strict=True):
        values = column(rows, name)
        axes.plot(
            column(rows, "epoch"),
            values,
            color=tuple(color),
            marker="o",
            markersize=_marker(len(rows)),
            label=name.removeprefix("iou/") + (" (absent)" if np.isnan(values).all() else ""),
        )
    axes.set_ylabel("IoU")
    axes.set_ylim(0, 1.02)
    _mark_thaws(axes, rows)
    _legend(axes)
    return figure


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """A column as float64, NaN where a cell is empty or the column is not there."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], dtype=float)


def _figure(panels: int, title: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # slow to import, and pyplot would keep every figure alive

    figure = Figure(figsize=(9, 1.0 + 3.4 * panels), layout="constrained")
    figure.suptitle(title)
    axes = list(np.atleast_1d(figure.subplots(panels, 1, sharex=True)))
    for each in axes:
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
    _integers(axes[-1].xaxis)
    axes[-1].set_xlabel("epoch")
    return figure, axes


def _marker(points: int) -> float:
    """Points are drawn where they are few: a line of one epoch would be invisible without."""
    return 5.0 if points <= 12 else 0.0


def _integers(axis: object) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))  # type: ignore[attr-defined]


def curves_that_differ(rows: Sequence[Row]) -> list[list[str]]:
    """Loss terms in their order, together where they are the same numbers: one line would hide the other."""
    groups: list[list[str]] = []
    for term in dict.fromkeys(name.split("/", 1)[1] for name in rows[0] if name.startswith(("train/", "val/"))):
        for group in groups:
            pairs = [(column(rows, f"{part}/{term}"), column(rows, f"{part}/{group[0]}")) for part in ("train", "val")]
            if all(np.allclose(one, other, rtol=1e-6, atol=0.0, equal_nan=True) for one, other in pairs):
                group.append(term)
                break
        else:
            groups.append([term])
    return groups


def _mark_thaws(axes: Axes, rows: Sequence[Row], labels: bool = False) -> None:
    """Dotted lines where more learns than before; a full one where the run went on after it had gone back."""
    for index in np.flatnonzero(np.diff(np.nan_to_num(column(rows, "rollbacks")), prepend=0.0) > 0):
        axes.axvline(column(rows, "epoch")[index], color=ORANGE, linewidth=1, zorder=1)
    epochs, thawed = column(rows, "epoch"), column(rows, "thawed_blocks")
    thaws = np.flatnonzero(np.diff(thawed) > 0) + 1
    for index in thaws:
        axes.axvline(epochs[index], color=GREY, linestyle=":", linewidth=1, zorder=1)
    if not labels or not len(thaws):
        return
    # Where "thaw 1", "thaw 2" would touch, the word is said once; where figures would, some are left out.
    room = np.diff(epochs[thaws]).min(initial=np.inf) / max(np.ptp(epochs), 1)
    crowded = room < WORD_ROOM
    if crowded:
        _label(axes, epochs[thaws[0]], "thaw", "right", (-6, 1))
    for index in thaws[:: max(1, int(np.ceil(FIGURE_ROOM / room)))]:
        _label(axes, epochs[index], f"{'' if crowded else 'thaw '}{thawed[index]:.0f}", "center", (0, 1))


def _label(axes: Axes, epoch: float, text: str, side: Literal["center", "right"], offset: tuple[int, int]) -> None:
    """Above the axes; ``offset`` in points."""
    axes.annotate(
        text,
        (epoch, 1.0),
        offset,
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha=side,
        va="bottom",
        fontsize=8,
        color=GREY,
    )


def _legend(axes: Axes) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handlelength=3)
