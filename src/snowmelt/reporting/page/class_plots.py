"""Scores by class, what is taken for what, and whether the student knows how sure it may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from snowmelt.reporting.page.marks import MUTED, RULE, STUDENT, TEACHER, Key, Plot, plain
from snowmelt.reporting.page.reading import Sheet, listed, number

ROW = 22  # pixels a class takes
LONGEST = 18  # letters of a class's name on an axis; all of it is told on hovering
FEW = 12  # classes up to which the cells of a confusion matrix have their figures in them


def iou_plot(sheet: Sheet) -> Plot | None:
    """IoU of student and teacher by class, the student's best on top, and their difference beside it."""
    student = {name: number(sheet.student["iou"].get(name)) for name in sheet.classes}
    taught = (sheet.teacher or {}).get("iou") or {}
    teacher = {name: number(taught.get(name)) for name in sheet.classes}
    shown = [name for name in sheet.classes if student[name] is not None or teacher[name] is not None]
    if not shown:
        return None
    shown.sort(key=lambda name: (student[name] is not None, student[name] or 0.0))  # the axis counts from below
    both = any(teacher[name] is not None for name in shown)
    places = list(range(len(shown)))
    labels = [plain(name, LONGEST) for name in shown]
    traces = _dots(shown, student, teacher, places, sheet.who)
    share = 0.64 if both else 1.0
    layout: dict[str, Any] = {
        "xaxis": {"domain": [0, share], "range": [-0.02, 1.02], "title": {"text": "IoU"}, "tickvals": [0, 0.5, 1]},
        "yaxis": {
            "tickvals": places,
            "ticktext": labels,
            "range": [-0.7, len(shown) - 0.3],
            "gridcolor": RULE,
            "zeroline": False,
        },
        "hovermode": "closest",
    }
    keys = [Key(sheet.who, STUDENT, (1 if both else 0,), box=True)]
    if both:
        keys.append(Key("teacher", TEACHER, (2,), box=True))
        traces.append(_differences(shown, student, teacher, places))
        marks = _few_ticks(traces[-1]["x"])
        ticks = {"tickvals": marks, "ticktext": [f"{mark:+g}" if mark else "0" for mark in marks], "tickangle": 0}
        layout["xaxis2"] = {"domain": [share + 0.06, 1], "title": {"text": "difference"}, "zeroline": True, **ticks}
        layout["yaxis2"] = {**layout["yaxis"], "anchor": "x2", "showticklabels": False, "matches": "y"}
    return Plot(
        name="iou",
        title="IoU by class",
        alt=_iou_alt(shown, student, teacher, sheet),
        traces=traces,
        layout=layout,
        height=90 + ROW * len(shown),
        keys=tuple(keys),
        note=" ".join(filter(None, ["Bars: student minus teacher." if both else "", _absent(sheet, shown)])),
    )


def _dots(
    shown: Sequence[str],
    student: Mapping[str, float | None],
    teacher: Mapping[str, float | None],
    places: Sequence[int],
    who: str,
) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    both = any(value is not None for value in teacher.values())
    if both:
        x: list[float | None] = []
        y: list[float | None] = []
        for place, name in zip(places, shown, strict=True):
            x += [student[name], teacher[name], None]
            y += [place, place, None]
        bar = {"color": MUTED, "width": 2}
        traces.append({"type": "scatter", "mode": "lines", "x": x, "y": y, "line": bar, "hoverinfo": "skip"})
    for values, color, symbol, name_of in (
        (student, STUDENT, "circle", who),
        (teacher, TEACHER, "diamond-open", "teacher"),
    )[: 2 if both else 1]:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [values[name] for name in shown],
                "y": list(places),
                "name": name_of,
                "marker": {"color": color, "symbol": symbol, "size": 10, "line": {"color": color, "width": 2}},
                "customdata": [f"{plain(name)}, {name_of}" for name in shown],
                "hovertemplate": "%{customdata}: %{x:.4f}<extra></extra>",
            }
        )
    return traces


def _differences(
    shown: Sequence[str],
    student: Mapping[str, float | None],
    teacher: Mapping[str, float | None],
    places: Sequence[int],
) -> dict[str, Any]:
    gaps = [_minus(student[name], teacher[name]) for name in shown]
    return {
        "type": "bar",
        "orientation": "h",
        "x": gaps,
        "y": list(places),
        "xaxis": "x2",
        "yaxis": "y2",
        "marker": {"color": [STUDENT if (gap or 0) >= 0 else TEACHER for gap in gaps]},
        "customdata": [plain(name) for name in shown],
        "hovertemplate": "%{customdata}: %{x:+.4f}<extra></extra>",
    }


def _few_ticks(gaps: Sequence[float | None]) -> list[float]:
    """0 and a round figure near the largest gap, on the sides where there are bars: more have no room on a phone."""
    low, high = (end([gap for gap in gaps if gap is not None] + [0.0]) for end in (min, max))
    most = max(-low, high)
    if most == 0:
        return [0.0]
    step = 10 ** math.floor(math.log10(most))
    mark = round(step * math.floor(most / step), 12)
    return [value for value in (-mark, 0.0, mark) if low <= value <= high]


def _minus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def confusion_plot(sheet: Sheet) -> Plot | None:
    """For each true class, what its pixels were taken for; ``None`` where no counts are there."""
    shares = shares_of(sheet)
    if shares is None:
        return None
    count = len(sheet.classes)
    few = count <= FEW
    labels = [plain(name, LONGEST) for name in sheet.classes]
    cell, least = (44, 30) if few else (15, 15)
    room = 16 + (7 if few else 6) * max(
        min(len(name), LONGEST) for name in sheet.classes
    )  # what the longest label takes
    trace: dict[str, Any] = {
        "type": "heatmap",
        "z": [[None if share is None else round(100 * share, 2) for share in row] for row in shares],
        "x": list(range(count)),
        "y": list(range(count)),
        "zmin": 0,
        "zmax": 100,
        "colorscale": [[0, "--cell0"], [0.02, "--cell1"], [0.3, "--cell2"], [1, "--cell3"]],
        "xgap": 1,
        "ygap": 1,
        "customdata": [
            [f"{plain(true, 40)} taken for {plain(taken, 40)}" for taken in sheet.classes] for true in sheet.classes
        ],
        "hovertemplate": "%{customdata}: %{z:.1f} %<extra></extra>",
        "showscale": False,
    }
    if few:
        trace["texttemplate"] = "%{z:.0f}"
        trace["textfont"] = {"size": 12}
    axis = {"tickvals": list(range(count)), "ticktext": labels, "showgrid": False, "zeroline": False}
    small = {"tickfont": {"size": 11 if few else 10}}
    layout = {
        "xaxis": {**axis, **small, "automargin": False, "tickangle": -90, "side": "top"},
        "yaxis": {**axis, **small, "automargin": False, "autorange": "reversed"},
        "hovermode": "closest",
        "margin": {"l": room, "t": room, "r": 10, "b": 10},
    }
    return Plot(
        name="confusion",
        title="What is taken for what",
        alt="Confusion matrix, rows are the truth. " + "; ".join(confusions(sheet)[:5]) + ".",
        traces=[trace],
        layout=layout,
        height=room + 10 + cell * count,
        note="Rows are the truth, columns what it was taken for, in percent of the row. The diagonal was right.",
        least=room + 10 + least * count,
        most=room + 10 + 84 * count,
    )


def shares_of(sheet: Sheet) -> list[list[float | None]] | None:
    """The student's confusion matrix by rows, each adding up to 1; a class that is not there has none."""
    counts = sheet.student.get("confusion")
    size = len(sheet.classes)
    rows = [listed(row) for row in listed(counts)]
    if not rows or len(rows) != size or any(len(row) != size or None in map(number, row) for row in rows):
        return None
    totals = [sum(row) for row in rows]
    return [[cell / total if total else None for cell in row] for row, total in zip(rows, totals, strict=True)]


def confusions(sheet: Sheet, most: int = 8) -> list[str]:
    """The largest mistakes in words."""
    shares = shares_of(sheet) or []
    found = [
        (share, sheet.classes[true], sheet.classes[taken])
        for true, row in enumerate(shares)
        for taken, share in enumerate(row)
        if true != taken and share is not None and share >= 0.005
    ]
    found.sort(key=lambda item: -item[0])
    return [f"{100 * share:.0f} % of {true} is taken for {taken}" for share, true, taken in found[:most]]


def reliability_plot(sheet: Sheet) -> Plot | None:
    """How often the student is right when it is so sure; the diagonal is a student that knows itself."""
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [0, 1],
            "y": [0, 1],
            "line": {"color": MUTED, "dash": "dot", "width": 1.5},
            "hoverinfo": "skip",
        }
    ]
    keys = []
    for side, color, who in ((sheet.student, STUDENT, sheet.who), (sheet.teacher or {}, TEACHER, "teacher")):
        bins = [row for row in listed(side.get("reliability")) if isinstance(row, Mapping)]
        points = [(number(row.get("confidence")), number(row.get("accuracy"))) for row in bins]
        points = [point for point in points if None not in point]
        if not points:
            continue
        keys.append(Key(who, color, (len(traces),)))
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "x": [x for x, _ in points],
                "y": [y for _, y in points],
                "name": who,
                "line": {"color": color, "width": 2},
                "marker": {"color": color, "size": 7},
                "hovertemplate": f"{who}: sure %{{x:.0%}}, right %{{y:.0%}}<extra></extra>",
            }
        )
    if not keys:
        return None
    scale = {"range": [0, 1.02], "tickformat": ".0%", "nticks": 6}
    layout = {
        "xaxis": {**scale, "title": {"text": "confidence"}},
        "yaxis": {**scale, "title": {"text": "share that is right"}},
        "hovermode": "closest",
    }
    ece = number(sheet.student.get("ece"))
    note = "Below the dotted line: surer than right."
    alt = "Reliability of the confidence" + ("." if ece is None else f"; expected calibration error {ece:.4f}.")
    return Plot("reliability", "Calibration", alt, traces, layout, 340, tuple(keys), note)


def _absent(sheet: Sheet, shown: Sequence[str]) -> str:
    absent = [name for name in sheet.classes if name not in shown]
    return f"Neither in the truth nor predicted: {', '.join(absent)}." if absent else ""


def _iou_alt(
    shown: Sequence[str], student: Mapping[str, float | None], teacher: Mapping[str, float | None], sheet: Sheet
) -> str:
    known = [name for name in shown if student[name] is not None]
    text = f"IoU of {len(shown)} classes on {sheet.where}."
    if known:
        text += f" The {sheet.who}'s best is {known[-1]} ({student[known[-1]]:.3f}), its worst {known[0]} "
        text += f"({student[known[0]]:.3f})."
    gaps = {name: gap for name in shown if (gap := _minus(student[name], teacher[name])) is not None}
    if gaps:
        worst = min(gaps, key=lambda name: gaps[name])
        text += f" It is furthest behind its teacher in {worst} ({gaps[worst]:+.3f})."
    return text
