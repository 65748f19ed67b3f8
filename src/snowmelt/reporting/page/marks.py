"""What all plots of the page are made of: plain data for Plotly, with colours by name.

A colour such as ``--student`` is looked up by the page, which knows whether it is light or dark. Every text that comes
from outside goes through ``plain``: Plotly takes a few tags for formatting.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snowmelt.reporting.csv_cells import Row
from snowmelt.reporting.page.reading import number

STUDENT, TEACHER, INK, MUTED, RULE, PAPER = "--student", "--teacher", "--ink", "--muted", "--rule", "--paper"
WARM, ICE, HELD = "--warm", "--ice", "--held"
ROLLBACK = "--hot"
LINES = tuple(f"--line{index}" for index in range(7))
DASHES = ("solid", "dash", "dot", "dashdot")  # more lines than colours differ in these


@dataclass(frozen=True)
class Key:
    """An entry of the legend below a plot's title; ``traces`` are switched with it."""

    label: str
    color: str
    traces: tuple[int, ...]
    dash: str = "solid"
    box: bool = False  # a square instead of a line


@dataclass(frozen=True)
class Plot:
    """One drawing, ready for the page.

    Attributes:
        alt: what is to be seen, for who cannot.
        least: pixels that it needs in width; on narrower screens it scrolls inside its frame.
        most: pixels beyond which it does not grow; 0: as wide as the page.
        epochs: length of the epoch axis, for plots that have one; 0 for others.
    """

    name: str
    title: str
    alt: str
    traces: list[dict[str, Any]]
    layout: dict[str, Any]
    height: int
    keys: tuple[Key, ...] = ()
    note: str = ""
    least: int = 0
    most: int = 0
    epochs: int = 0

    def for_page(self) -> dict[str, Any]:
        """What the page's script reads."""
        return {
            "name": self.name,
            "data": self.traces,
            "layout": self.layout,
            "height": self.height,
            "least": self.least,
            "most": self.most,
            "epochs": self.epochs,
        }


def plain(text: Any, most: int | None = None) -> str:
    """Text that Plotly shows as it is, at most ``most`` characters of it."""
    shown = str(text)
    if most is not None and len(shown) > most:
        shown = shown[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"
    # Plotly knows the entities of these three signs and shows others as they are written.
    return html.escape("".join(letter if letter.isprintable() else " " for letter in shown), quote=False)


def figures(rows: Sequence[Row], name: str) -> list[float | None]:
    """A column with six digits; ``None`` where there is no number."""
    values = (number(row.get(name)) for row in rows)
    return [None if value is None else float(f"{value:.6g}") for value in values]


def epochs_of(rows: Sequence[Row]) -> list[int]:
    return [int(number(row.get("epoch")) or 0) for row in rows]


def line(
    x: Sequence[Any], y: Sequence[Any], color: str, name: str, dash: str = "solid", width: float = 2.0, **more: Any
) -> dict[str, Any]:
    """A trace; a lone point is drawn as a point."""
    lone = sum(value is not None for value in y) <= 12
    return {
        "type": "scatter",
        "mode": "lines+markers" if lone else "lines",
        "x": list(x),
        "y": list(y),
        "name": plain(name, 40),
        "line": {"color": color, "dash": dash, "width": width},
        "marker": {"color": color, "size": 6},
        **more,
    }


def thaw_marks(rows: Sequence[Row], epochs: int, labels: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Shapes and notes at each epoch in which more blocks learn than before; numbers where they have room.

    A full line in another colour is where the run went on from after it had gone back (``rollbacks``).
    """
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    thawed, last = figures(rows, "thawed_blocks"), -1e9
    returns = [value or 0.0 for value in figures(rows, "rollbacks")]
    for index, epoch in enumerate(epochs_of(rows)):
        if returns[index] > (returns[index - 1] if index else 0.0):
            shapes.append(_upright(epoch, {"color": ROLLBACK, "width": 1.5, "dash": "solid"}))
        before, now = thawed[index - 1] if index else None, thawed[index]
        if before is None or now is None or now <= before:
            continue
        shapes.append(_upright(epoch, {"color": MUTED, "width": 1, "dash": "dot"}))
        if labels and epoch - last >= 0.06 * epochs:
            last = epoch
            notes.append(
                {
                    "x": epoch - 0.5,
                    "y": 1,
                    "xref": "x",
                    "yref": "paper",
                    "yanchor": "bottom",
                    "text": f"{now:.0f}",
                    "showarrow": False,
                    "font": {"color": MUTED, "size": 11},
                }
            )
    return {"shapes": shapes, "annotations": notes}


def _upright(epoch: int, line: Mapping[str, Any]) -> dict[str, Any]:
    """A line over the whole height, before ``epoch``."""
    place = {"x0": epoch - 0.5, "x1": epoch - 0.5, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
    return {"type": "line", **place, "layer": "below", "opacity": 0.7, "line": dict(line)}


def merge(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both layouts; lists of shapes and notes follow each other."""
    merged = dict(first)
    for key, value in second.items():
        merged[key] = [*merged[key], *value] if isinstance(merged.get(key), list) else value
    return merged
