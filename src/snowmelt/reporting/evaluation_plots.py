"""An evaluation as pictures: IoU by class, confusion, reliability, and scores by size and brightness."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snowmelt.reporting.evaluation_table import images_of, range_of
from snowmelt.reporting.plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 110
LONGEST = 22  # characters of a class's name
NUMBERED = 12  # classes up to which the cells of a confusion matrix have their numbers
COLORS = {"student": BLUE, "teacher": ORANGE}


def draw_evaluation(folder: Path, content: Mapping[str, Any]) -> list[Path]:
    """Write the pictures of an evaluation, as ``evaluation/<split>.json`` holds it, into ``folder``.

    ``iou_by_class.png``, ``confusion.png``, ``reliability.png``, ``groups.png``, and with a teacher
    ``confusion_teacher.png``.
    """
    figures = {
        "iou_by_class.png": iou_by_class_figure(content),
        "confusion.png": confusion_figure(content, "student"),
        "reliability.png": reliability_figure(content),
        "groups.png": groups_figure(content),
    }
    if content["teacher"] is not None:
        figures["confusion_teacher.png"] = confusion_figure(content, "teacher")
    for name, figure in figures.items():
        aside = folder / f".{name}.{os.getpid()}.tmp"
        figure.savefig(aside, dpi=DPI, format="png")
        aside.replace(folder / name)
    return [folder / name for name in figures]


def iou_by_class_figure(content: Mapping[str, Any]) -> Figure:
    """Classes one below the other, the student's best first; a bar for the student, a mark for the teacher."""
    names, student, teacher = content["classes"], content["student"], content["teacher"]
    order = sorted(names, key=lambda name: _or(student["iou"][name], -1.0), reverse=True)
    figure, (axes,) = _figure((8, 1.6 + 0.27 * len(names)), "IoU by class", content)
    places = np.arange(len(order))
    values = [_or(student["iou"][name], 0.0) for name in order]
    axes.barh(places, values, height=0.62, color=BLUE, label=f"student, mean {_text(student['miou'])}", zorder=2)
    if teacher is not None:
        there = [(place, teacher["iou"][name]) for place, name in enumerate(order) if teacher["iou"][name] is not None]
        axes.scatter(
            [value for _, value in there],
            [place for place, _ in there],
            marker="|",
            s=170,
            linewidths=2.6,
            color=ORANGE,
            label=f"teacher, mean {_text(teacher['miou'])}",
            zorder=3,
        )
    for place, name in enumerate(order):
        if student["iou"][name] is None:
            axes.text(0.006, place, "absent", va="center", fontsize=8, color=GREY, style="italic")
    axes.set_yticks(places, [_short(name) for name in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU")
    ordered = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda pair: pair[1])  # student first
    axes.legend(*zip(*ordered, strict=True), loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, frameon=False)
    return figure


def confusion_figure(content: Mapping[str, Any], who: str) -> Figure:
    """Where the pixels of each true class went, in shares of that class; one that is not in the truth is hatched."""
    matrix = np.array(content[who]["confusion"], dtype=float)
    total = matrix.sum(1, keepdims=True)
    shares = np.divide(matrix, total, out=np.full_like(matrix, np.nan), where=total > 0)
    count, names = len(matrix), [_short(name) for name in content["classes"]]
    numbered = count <= NUMBERED
    side = count * (0.62 if numbered else 0.19)
    figure, (axes,) = _figure((max(5.0, side + 2.6), max(4.2, side + 2.0)), f"Confusion of the {who}", content)
    axes.grid(False)
    axes.set_facecolor("white")
    axes.patch.set(hatch="////", edgecolor="#cccccc")
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    size = 9 if numbered else 7
    axes.set_xticks(range(count), names, rotation=90 if count > 6 else 30, ha="center", fontsize=size)
    axes.set_yticks(range(count), names, fontsize=size)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    for row, column in np.argwhere(shares >= 0.005) if numbered else ():
        value = shares[row, column]
        ink = "white" if value > 0.55 else "black"
        axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8, color=ink)
    bar = figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.02)
    bar.set_label("share of the true class" + (" (figures in %)" if numbered else ""))
    return figure


def reliability_figure(content: Mapping[str, Any]) -> Figure:
    """How often pixels are right, by how sure the network is; below, how many pixels are how sure."""
    figure, (upper, lower) = _figure((6.4, 6.6), "Reliability", content, rows=2, ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="perfect", zorder=1)
    answerers = [who for who in COLORS if content[who] is not None]
    for position, who in enumerate(answerers):
        rows, color = content[who]["reliability"], COLORS[who]
        there = [row for row in rows if row["confidence"] is not None]
        upper.plot(
            [row["confidence"] for row in there],
            [row["accuracy"] for row in there],
            color=color,
            marker="os"[position],
            markersize=5,
            clip_on=False,
            label=f"{who}, ECE {_text(content[who]['ece'])}",
            zorder=3,
        )
        width = 1 / len(rows) / len(answerers)
        left = (np.arange(len(rows)) * len(answerers) + position) * width
        lower.bar(left, [_or(row["share"], 0.0) for row in rows], width * 0.92, align="edge", color=color)
    upper.set(ylabel="share of pixels that are right", xlim=(0, 1), ylim=(0, 1.02))
    upper.legend(loc="upper left", frameon=False)
    # Nearly all pixels lie in the last bin; on a linear axis there would be nothing else to see.
    lower.set(xlabel="confidence: probability of the predicted class", ylabel="share of pixels", xlim=(0, 1))
    lower.set(yscale="log", ylim=(1e-4, 1))
    return figure


def groups_figure(content: Mapping[str, Any]) -> Figure:
    """mIoU by size of what is shown and by brightness of the image, student beside teacher."""
    figure, (sizes, lights) = _figure((9.2, 3.9), "Where it is good", content, columns=2)
    _bars(sizes, content, "by_size", "regions", 100.0, "%")
    sizes.set_xlabel("share of its image that a class takes")
    _bars(lights, content, "by_brightness", "images", 1.0, "")
    lights.set_xlabel("mean brightness of the image, 0 to 255")
    handles, labels = lights.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _bars(axes: Axes, content: Mapping[str, Any], key: str, what: str, scale: float, unit: str) -> None:
    rows = content[key]
    scores = {"student": "miou", "teacher": "teacher_miou"}
    answerers = [who for who in COLORS if content[who] is not None]
    width = 0.7 / len(answerers)
    for position, who in enumerate(answerers):
        places = np.arange(len(rows)) + (position - (len(answerers) - 1) / 2) * width
        values = [row[scores[who]] for row in rows]
        axes.bar(places, [_or(value, 0.0) for value in values], width * 0.92, color=COLORS[who], label=who, zorder=2)
        for place, value in zip(places, values, strict=True):
            axes.text(place, _or(value, 0.0) + 0.01, _text(value, 2), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(
        range(len(rows)), [f"{row['group']}\n{range_of(row, scale, unit)}\n{row[what]} {what}" for row in rows]
    )
    axes.set(ylim=(0, 1.08), ylabel="mIoU")


def _figure(
    size: tuple[float, float],
    title: str,
    content: Mapping[str, Any],
    rows: int = 1,
    columns: int = 1,
    ratios: list[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure  # slow to import, and pyplot would keep every figure alive

    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(f"{title}\n{_short(content['run'], 40)}, {images_of(content)}", fontsize=11)
    axes = list(np.atleast_1d(figure.subplots(rows, columns, height_ratios=ratios)))
    for each in axes:
        each.grid(alpha=0.25)
        each.spines[["top", "right"]].set_visible(False)
        each.set_axisbelow(True)
    return figure, axes


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _text(value: float | None, digits: int = 3) -> str:
    return "absent" if value is None else f"{value:.{digits}f}"


def _short(name: str, longest: int = LONGEST) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
