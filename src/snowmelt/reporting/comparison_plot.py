"""A comparison of arms as a picture: scores with their intervals above, validation over training time below."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snowmelt.reporting.comparison_table import intervals_of, rests_on_one_seed
from snowmelt.reporting.plots import GREY, LINES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

STYLES = ("-", "--", ":")  # arms beyond the seven colours that colour-blind people tell apart differ in these too
LONGEST = 22  # characters of an arm's name
SHORT = 10  # characters of a base's name that leave room for three columns of labels


def draw_comparison(path: Path, content: Mapping[str, Any]) -> None:
    """Write the picture of a comparison, as ``comparison.json`` holds it, to ``path``."""
    figure = comparison_figure(content)
    aside = path.with_name(f".{path.name}")
    figure.savefig(aside, dpi=110, format="png")
    aside.replace(path)


def comparison_figure(content: Mapping[str, Any]) -> Figure:
    """Arms stand one below the other, so that names of any number of them have room."""
    from matplotlib.figure import Figure  # slow to import, and pyplot would keep every figure alive

    arms = content["arms"]
    height = 1.3 + 0.42 * (len(arms) + 1)
    figure = Figure(figsize=(9, height + 4.2), layout="constrained")
    figure.suptitle(content["name"])
    scores, curves = figure.subplots(2, 1, height_ratios=[height, 4.2])
    for axes in (scores, curves):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    _draw_scores(scores, content)
    _draw_curves(curves, content)
    return figure


def _draw_scores(axes: Axes, content: Mapping[str, Any]) -> None:
    """A point for each seed, a bar for the mean, and the paired interval, placed at the base's mean."""
    from matplotlib.lines import Line2D

    arms, teacher = content["arms"], content["teacher"]
    by_arm = {row["arm"]: [run["miou"] for run in content["runs"] if run["arm"] == row["arm"]] for row in arms}
    base = next(row["miou"] for row in arms if row["arm"] == content["base"])
    intervals = intervals_of(content)
    labels: dict[str, Any] = {
        "a seed": Line2D([], [], color=GREY, marker="o", linestyle="", markersize=5),
        "mean": Line2D([], [], color=GREY, marker="|", linestyle="", markersize=12, markeredgewidth=2.5),
    }
    for position, row in enumerate(arms):
        color, _ = _look(position)
        seeds = [value for value in by_arm[row["arm"]] if value is not None]
        axes.scatter(seeds, [position] * len(seeds), s=26, color=color, alpha=0.75, zorder=3)
        axes.plot([row["miou"]] * 2, [position - 0.28, position + 0.28], color=color, linewidth=2.5)
        if row["arm"] in intervals:
            name, handle = _draw_interval(axes, position + 0.36, base, intervals[row["arm"]], content)
            labels[name] = handle
    labels[f"mean of {_short(content['base'])}"] = axes.axvline(base, color=GREY, linewidth=1, linestyle="--", zorder=1)
    if teacher is not None and teacher["miou"] is not None:
        labels["teacher"] = axes.axvline(teacher["miou"], color="black", linewidth=1.2, linestyle="-.", zorder=1)
    axes.set_yticks(range(len(arms)), [_short(row["arm"]) for row in arms])
    axes.set_ylim(len(arms) - 0.4, -0.6)
    axes.set_xlabel(f"mIoU on {content['part']}")
    columns = 3 if len(content["base"]) <= SHORT else 2  # its name is in several of the labels
    axes.legend(
        labels.values(), labels, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, frameon=False, fontsize=8.5
    )


def _draw_interval(
    axes: Axes, height: float, base: float, difference: Mapping[str, Any], content: Mapping[str, Any]
) -> tuple[str, Line2D]:
    """Its legend and its bar: pale and dashed where one seed stands behind it, so that it looks like no clear win."""
    gap = " " if len(content["base"]) <= SHORT else "\n"
    level = f"{100 * content['statistics']['level']:.4g} %"
    name = f"{level} interval of the difference{gap}to {_short(content['base'])}"
    ends = [base + difference["low"], base + difference["high"]]
    bar = axes.plot(ends, [height] * 2, color=GREY, linewidth=1.4, marker="|", markersize=7, zorder=2)[0]
    if rests_on_one_seed(difference):
        name += ",\nof the images alone (one seed)"
        bar.set(linestyle=(0, (3, 2)), linewidth=1.1, alpha=0.6)
    return name, bar


def _draw_curves(axes: Axes, content: Mapping[str, Any]) -> None:
    """Validation by training time, a thin line for each seed; the mean over the seeds is thick."""
    teacher = content["teacher"]
    for position, row in enumerate(content["arms"]):
        color, style = _look(position)
        runs = [run for run in content["runs"] if run["arm"] == row["arm"]]
        curves = [(_numbers(run["seconds_curve"]), _numbers(run["val_curve"])) for run in runs]
        for seconds, values in curves:
            axes.plot(seconds, values, color=color, linewidth=0.8, alpha=0.35)
        length = min(len(seconds) for seconds, _ in curves)
        seconds, values = (np.mean([curve[part][:length] for curve in curves], axis=0) for part in (0, 1))
        marker = 4.0 if length <= 12 else 0.0  # a line of one epoch would be invisible without
        axes.plot(
            seconds, values, style, color=color, linewidth=2, label=_short(row["arm"]), marker="o", markersize=marker
        )
    if teacher is not None and teacher["val_miou"] is not None:
        axes.axhline(teacher["val_miou"], color="black", linewidth=1.2, linestyle="-.", label="teacher")
    axes.set_xlabel("seconds of training steps, the teacher's not included")
    axes.set_ylabel("mIoU on validation")
    axes.set_xlim(left=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, handlelength=3)


def _look(position: int) -> tuple[str, str]:
    return LINES[position % len(LINES)], STYLES[position // len(LINES) % len(STYLES)]


def _numbers(values: list[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"
