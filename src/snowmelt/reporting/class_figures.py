"""The best weights class by class as pictures: IoU beside the teacher's, and what is taken for what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STUDENT, TEACHER, GREY = "#0072B2", "#D55E00", "#666666"
LONGEST = 22  # letters of a class's name
FEW = 15  # classes up to which the cells of a confusion matrix have their figures in them


def class_figures(validation: Path) -> dict[str, Figure]:
    """File name -> figure, as far as ``validation.json`` is there and has what it takes."""
    try:
        content = json.loads(validation.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    figures = {"classes.png": classes_figure(content)}
    if content["student"].get("confusion"):
        figures["confusion.png"] = confusion_figure(content)
    return figures


def classes_figure(content: Mapping[str, Any]) -> Figure:
    """Student and teacher in each class, the student's best on top; a class that is absent has no points."""
    from matplotlib.figure import Figure  # slow to import, and pyplot would keep every figure alive

    student, teacher = content["student"]["iou"], (content["teacher"] or {}).get("iou") or {}
    names = sorted(content["classes"], key=lambda name: (student.get(name) is not None, student.get(name) or 0.0))
    places = np.arange(len(names))
    figure = Figure(figsize=(9, 1.4 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    figure.suptitle(f"IoU by class on validation, epoch {content['epoch']}")
    values = np.array([_nan(student.get(name)) for name in names])
    if teacher:
        taught = np.array([_nan(teacher.get(name)) for name in names])
        axes.hlines(places, values, taught, color=GREY, linewidth=1.2)
        axes.plot(taught, places, "D", color=TEACHER, markerfacecolor="white", markersize=6, label="teacher")
    axes.plot(values, places, "o", color=STUDENT, markersize=7, label="student")
    axes.set_yticks(places, [_short(name) for name in names])
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.set_xlabel("IoU")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def confusion_figure(content: Mapping[str, Any]) -> Figure:
    """Percent of each true class's pixels, by what the student took them for."""
    from matplotlib.figure import Figure

    counts = np.array(content["student"]["confusion"], dtype=float)
    with np.errstate(invalid="ignore"):
        shares = 100 * counts / counts.sum(1, keepdims=True)
    names = [_short(name) for name in content["classes"]]
    side = 2.2 + max(0.2, 0.55 if len(names) <= FEW else 0.2) * len(names)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    figure.suptitle("What is taken for what, % of the truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.tick_top()
    axes.set_xlabel("taken for")
    axes.set_ylabel("truth")
    if len(names) <= FEW:
        for row, column in np.argwhere(np.isfinite(shares)):
            ink = "white" if shares[row, column] > 55 else "black"
            axes.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    if len(names) > FEW:
        axes.tick_params(labelsize=7)
    return figure


def _nan(value: float | None) -> float:
    return np.nan if value is None else value


def _short(name: str) -> str:
    """As plain text: matplotlib takes what stands between dollars for a formula."""
    text = name if len(name) <= LONGEST else name[: LONGEST - 3] + "..."
    return text.replace("$", r"\$")
