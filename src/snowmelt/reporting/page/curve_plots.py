"""What training logged, one plot below the other over the same epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from snowmelt.reporting.csv_cells import Row
from snowmelt.reporting.page.marks import (
    DASHES,
    LINES,
    STUDENT,
    TEACHER,
    Key,
    Plot,
    epochs_of,
    figures,
    line,
    merge,
    thaw_marks,
)
from snowmelt.reporting.page.reading import RunContent
from snowmelt.reporting.plots import curves_that_differ

STEEP = 10.0  # from the lowest loss to the highest; above it a linear axis would show the first epochs alone


def curve_plots(content: RunContent, who: str = "student") -> list[Plot]:
    """Losses, mIoU, learning rates, agreement, and weights that move; empty before the first epoch is over.

    Args:
        who: what the network that was trained is called.
    """
    rows, epochs = content.metrics, content.epochs
    if not rows:
        return []
    plots = [_losses(rows), _scores(rows, who), _rates(rows), _agreement(rows), _weights(rows)]
    return [_on_the_axis(plot, rows, epochs, first=index == 0) for index, plot in enumerate(filter(None, plots))]


def _on_the_axis(plot: Plot, rows: Sequence[Row], epochs: int, first: bool) -> Plot:
    layout = merge(plot.layout, thaw_marks(rows, epochs, labels=first))
    layout["xaxis"] = {"range": [-0.5, epochs - 0.5]}
    layout["hovermode"] = "x unified"
    return replace(plot, layout=layout, epochs=epochs)


def _losses(rows: Sequence[Row]) -> Plot:
    traces: list[dict[str, Any]] = []
    keys: list[Key] = []
    for index, terms in enumerate(curves_that_differ(rows)):
        label = " = ".join(terms)
        color, width = LINES[index % len(LINES)], 3.0 if "total" in terms else 1.6
        own = []
        for part, dash in (("train", "solid"), ("val", "dot")):
            if f"{part}/{terms[0]}" in rows[0]:
                own.append(len(traces))
                name = f"{label} ({'training' if part == 'train' else 'validation'})"
                traces.append(line(epochs_of(rows), figures(rows, f"{part}/{terms[0]}"), color, name, dash, width))
        keys.append(Key(label, color, tuple(own)))
    known = [value for trace in traces for value in trace["y"] if value is not None]
    axis: dict[str, Any] = {"rangemode": "tozero", "title": {"text": "loss"}}
    if known and min(known) > 0 and max(known) > STEEP * min(known):
        axis = {"type": "log", "title": {"text": "loss (log)"}, **_log_ticks(min(known), max(known))}
    layout = {"yaxis": axis}
    alt = f"Loss by term over {len(rows)} epochs. Total: {_ends(rows, 'train/total')} in training, "
    alt += f"{_ends(rows, 'val/total')} on validation."
    note = "Solid: training. Dotted: validation. A heavy line is the total."
    return Plot("loss", "Loss by term", alt, traces, layout, 320, tuple(keys), note)


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Whole figures at 1, 2 and 5, or at powers of ten where those would be too many."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    values = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    values = [value for value in values if 0.9 * low <= value <= 1.1 * high]
    return {"tickvals": values, "ticktext": [f"{value:g}" for value in values]}


def _scores(rows: Sequence[Row], who: str) -> Plot:
    epochs, student, teacher = epochs_of(rows), figures(rows, "miou"), figures(rows, "teacher_miou")
    traces = [line(epochs, student, STUDENT, who, width=2.4)]
    keys = [Key(who, STUDENT, (0,))]
    if any(value is not None for value in teacher):
        keys.append(Key("teacher", TEACHER, (len(traces),), "dash"))
        traces.append(line(epochs, teacher, TEACHER, "teacher", "dash"))
    known = [(value, epoch) for value, epoch in zip(student, epochs, strict=True) if value is not None]
    alt = f"mIoU on validation over {len(rows)} epochs: {_ends(rows, 'miou')}."
    if known:
        best, at = max(known, key=lambda pair: pair[0])
        mark = {"symbol": "circle-open", "size": 11, "color": STUDENT, "line": {"width": 2}}
        point = {"mode": "markers", "marker": mark, "cliponaxis": False}  # whole in the last epoch, too
        traces.append({**line([at], [best], STUDENT, "best so far"), **point})
        keys.append(Key(f"best: {best:.4f} in epoch {at}", STUDENT, (len(traces) - 1,), "dot"))
        alt += f" Best {best:.4f} in epoch {at}."
    layout = {"yaxis": {"rangemode": "tozero", "title": {"text": "mIoU"}}}
    return Plot("miou", "mIoU on validation", alt, traces, layout, 290, tuple(keys))


def _rates(rows: Sequence[Row]) -> Plot | None:
    """A block's rate from the epoch on in which it learns; blocks whose rates are always the same share a line."""
    groups = [name.removeprefix("lr/") for name in rows[0] if name.startswith("lr/")]
    thawed = figures(rows, "thawed_blocks")
    curves: list[tuple[list[str], list[float | None]]] = []
    for index, group in enumerate(groups):
        rates = figures(rows, f"lr/{group}")
        shown = [rate if index == 0 or (thawed[at] or 0) >= index else None for at, rate in enumerate(rates)]
        if all(rate is None for rate in shown):
            continue
        for names, other in curves[1:]:
            if all(one is None or each is None or one == each for one, each in zip(shown, other, strict=True)):
                names.append(group)
                other[:] = [each if one is None else one for one, each in zip(shown, other, strict=True)]
                break
        else:
            curves.append(([group], shown))
    if not curves:
        return None
    traces, keys = [], []
    for index, (names, values) in enumerate(curves):
        label = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        color, dash = LINES[index % len(LINES)], DASHES[index // len(LINES) % len(DASHES)]
        traces.append(line(epochs_of(rows), values, color, label, dash, connectgaps=False, hovertemplate="%{y:.2e}"))
        keys.append(Key(label, color, (index,), dash))
    if any(_meet(curves[0][1], other) for _, other in curves[1:]):  # on top, with what lies below between its dashes
        decoder = {**traces[0], "line": {**traces[0]["line"], "dash": "dash"}}
        traces = [*traces[1:], decoder]
        keys = [replace(key, traces=((key.traces[0] - 1) % len(traces),)) for key in keys]
        keys[0] = replace(keys[0], dash="dash")
    layout = {"yaxis": {"type": "log", "title": {"text": "learning rate"}, "exponentformat": "power", "dtick": 1}}
    alt = f"Learning rates at the first step of each epoch. Decoder: {_ends(rows, 'lr/' + groups[0])}."
    note = "At the first step of each epoch. A block has a line from where it learns."
    return Plot("rates", "Learning rates", alt, traces, layout, 240, tuple(keys), note)


def _meet(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether two curves are the same somewhere, so that one would hide the other."""
    return any(value is not None and value == each for value, each in zip(one, other, strict=True))


def _agreement(rows: Sequence[Row]) -> Plot | None:
    values = figures(rows, "agreement")
    if all(value is None for value in values):
        return None
    layout = {"yaxis": {"tickformat": ".0%", "title": {"text": "agreement"}}}
    alt = f"Share of validation pixels on which student and teacher agree: {_ends(rows, 'agreement')}."
    traces = [line(epochs_of(rows), values, LINES[2], "agreement", hovertemplate="%{y:.1%}")]
    return Plot("agreement", "Agreement with the teacher", alt, traces, layout, 220)


def _weights(rows: Sequence[Row]) -> Plot | None:
    """Alpha and the weights of terms, where they are not the same all the time."""
    names = [name for name in rows[0] if name == "alpha" or name.startswith("weights/")]
    moving = [name for name in names if len(set(figures(rows, name)) - {None}) > 1]
    if not moving:
        return None
    traces, keys = [], []
    for index, name in enumerate(moving):
        label, color = name.removeprefix("weights/"), LINES[index % len(LINES)]
        dash = DASHES[index // len(LINES) % len(DASHES)]
        traces.append(line(epochs_of(rows), figures(rows, name), color, label, dash))
        keys.append(Key(label, color, (index,), dash))
    alt = "Weights of the distillation: " + "; ".join(f"{name} {_ends(rows, name)}" for name in moving) + "."
    return Plot("weights", "Weights that move", alt, traces, {"yaxis": {"rangemode": "tozero"}}, 220, tuple(keys))


def _ends(rows: Sequence[Row], name: str) -> str:
    known = [value for value in figures(rows, name) if value is not None]
    return f"from {known[0]:.4g} to {known[-1]:.4g}" if known else "not known"
