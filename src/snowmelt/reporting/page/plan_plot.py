"""The plan as a picture: the temperature above, below it which part of the network learns when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from snowmelt.reporting.csv_cells import Row
from snowmelt.reporting.page.marks import (
    HELD,
    ICE,
    INK,
    MUTED,
    PAPER,
    WARM,
    Key,
    Plot,
    epochs_of,
    figures,
    line,
    plain,
)
from snowmelt.reporting.page.reading import RunContent, number

FROZEN, LEARNS, WAITS = 0, 1, 2  # what a cell of the staircase says
ROW = 26  # pixels


def plan_plot(content: RunContent) -> Plot | None:
    """``None`` where neither plan nor epochs are there."""
    rows = content.plan or content.metrics
    if not rows:
        return None
    epochs, done = content.epochs, len(content.metrics)
    groups = [name.removeprefix("lr/") for name in rows[0] if name.startswith("lr/")] or ["network"]
    cells = staircase(content.plan, content.metrics, len(groups) - 1)
    temperature = figures(rows, "temperature")
    cools = any(value is not None for value in temperature)
    base = ROW * len(groups)
    height = 60 + base + (190 if cools else 20)
    share = (base / (height - 60)) if cools else 1.0
    layout: dict[str, Any] = {
        "xaxis": {"range": [-0.5, epochs - 0.5], "title": {"text": "epoch"}},
        "yaxis": {
            "domain": [0, share],
            "tickvals": list(range(len(groups))),
            "ticktext": [plain(name, 11) for name in groups],
            "showgrid": False,
            "range": [-0.5, len(groups) - 0.5],
        },
        "shapes": [],
        "annotations": [],
    }
    traces = [_cells(cells, epochs_of(rows), groups)]
    keys = [Key("learns", WARM, (), box=True), Key("frozen", ICE, (), box=True)]
    held = any(WAITS in row for row in cells)
    if held:
        keys.append(Key("planned to learn, but held", HELD, (), box=True))
    if cools:
        layout["yaxis2"] = {
            "domain": [min(share + 0.08, 0.9), 1],
            "title": {"text": "temperature"},
            "rangemode": "tozero",
        }
        hover = "temperature %{y:.3f}<extra></extra>"
        curve = line(epochs_of(rows), temperature, MUTED, "temperature", yaxis="y2", hovertemplate=hover)
        curve["mode"] = "lines+markers"
        curve["line"]["width"] = 1
        curve["marker"] = {"size": 7, "color": temperature, "colorscale": [[0, "--cool"], [1, "--hot"]]}
        traces.append(curve)
        keys.append(Key("temperature, hot to cold", "--hot", (1,)))
    if content.runs and 0 < done < epochs:
        _mark_now(layout, done, epochs)
    return Plot(
        name="plan",
        title="Cooling and thawing",
        alt=_alt(rows, groups, temperature),
        traces=traces,
        layout=layout,
        height=height,
        keys=tuple(keys),
        note=_held_note(content) if held else "",
        epochs=epochs,
    )


def staircase(plan: Sequence[Row], metrics: Sequence[Row], blocks: int) -> list[list[int]]:
    """A row for the decoder and each block, deepest first; a cell for each epoch of the plan.

    Epochs that are over show what happened, those to come what is planned.
    """
    planned = figures(plan or metrics, "thawed_blocks")
    happened = dict(zip(epochs_of(metrics), figures(metrics, "thawed_blocks"), strict=True))
    rows = [[LEARNS] * len(planned)]
    for block in range(blocks):
        row = []
        for epoch, count in zip(epochs_of(plan or metrics), planned, strict=True):
            wanted = (count or 0) > block
            learned = (happened.get(epoch, count) or 0) > block
            row.append(LEARNS if learned else WAITS if wanted else FROZEN)
        rows.append(row)
    return rows


def _cells(cells: list[list[int]], epochs: list[int], groups: list[str]) -> dict[str, Any]:
    words = {FROZEN: "frozen", LEARNS: "learns", WAITS: "held"}
    return {
        "type": "heatmap",
        "z": cells,
        "x": epochs,
        "y": list(range(len(groups))),
        "customdata": [
            [f"{plain(group, 40)} {words[cell]}" for cell in row] for group, row in zip(groups, cells, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
        "zmin": FROZEN,
        "zmax": WAITS,
        "colorscale": [[0, ICE], [0.33, ICE], [0.33, WARM], [0.67, WARM], [0.67, HELD], [1, HELD]],
        "showscale": False,
        "xgap": 1 if len(epochs) <= 60 else 0,
        "ygap": 2,
    }


def _mark_now(layout: dict[str, Any], done: int, epochs: int) -> None:
    """A line where the run is; what is to come is paler."""
    place = {"xref": "x", "yref": "paper", "y0": 0, "y1": 1}
    veil = {"type": "rect", **place, "x0": done - 0.5, "x1": epochs - 0.5, "fillcolor": PAPER, "opacity": 0.5}
    layout["shapes"] += [
        {**veil, "line": {"width": 0}, "layer": "above"},
        {"type": "line", **place, "x0": done - 0.5, "x1": done - 0.5, "line": {"color": INK, "width": 2}},
    ]
    layout["annotations"].append(
        {
            "x": done - 0.5,
            "y": 1,
            "xref": "x",
            "yref": "paper",
            "yanchor": "bottom",
            "xanchor": "right" if done > epochs / 2 else "left",
            "text": f"now: {done} of {epochs} epochs done",
            "showarrow": False,
            "font": {"color": INK, "size": 12},
        }
    )


def _held_note(content: RunContent) -> str:
    reactions = content.settings.get("reactions") or {}
    reasons = []
    if isinstance(reactions, dict) and reactions.get("thaw_guard"):
        reasons.append("the thaw guard (reactions.thaw_guard) makes a thaw wait while validation loss rises")
    if isinstance(reactions, dict) and reactions.get("memory") not in (None, "off"):
        reasons.append("reactions.memory leaves blocks frozen for which memory would not suffice")
    why = f": {'; '.join(reasons)}" if reasons else ""
    return f"Some blocks stayed frozen longer than planned{why}. The warnings below say when."


def _alt(rows: Sequence[Row], groups: list[str], temperature: list[float | None]) -> str:
    known = [value for value in temperature if value is not None]
    parts = [f"Plan over {len(rows)} epochs."]
    if known:
        parts.append(f"The temperature goes from {known[0]:.2f} to {known[-1]:.2f}.")
    thawed = figures(rows, "thawed_blocks")
    begins = [
        f"{groups[block + 1]} from epoch {epochs_of(rows)[index]}"
        for block in range(len(groups) - 1)
        for index in [next((at for at, count in enumerate(thawed) if (number(count) or 0) > block), None)]
        if index is not None
    ]
    parts.append("The decoder learns throughout" + (f", {', '.join(begins)}." if begins else "; no block thaws."))
    return " ".join(parts)
