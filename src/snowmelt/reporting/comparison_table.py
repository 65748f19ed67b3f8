"""A comparison of arms as tables of 80 columns: scores, costs, and scores on a second data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

Row = Mapping[str, Any]
NOTHING = "-"


def comparison_tables(content: Mapping[str, Any]) -> list[Table]:
    """The tables of a comparison.

    Args:
        content: what ``comparison.json`` holds: ``name``, ``part``, ``base``, ``arms`` (the rows), ``teacher``.
    """
    tables = [scores_table(content), costs_table(content)]
    if any(row["transfer"] is not None for row in content["arms"]):
        tables.append(transfer_table(content))
    return tables


def scores_table(content: Mapping[str, Any]) -> Table:
    """mIoU by arm, its spread over the seeds, and the difference to the base with its interval."""
    base, teacher = content["base"], content["teacher"]
    level = f"{100 * content['statistics']['level']:.4g} %"
    table = _table(f"{content['name']}: scores on {content['part']}")
    _columns(table, "mIoU", "sd over\nseeds", f"vs {_short(base, 10)}", f"{level}\ninterval", "relative")
    if teacher is not None:
        _columns(table, "of\nteacher")
    for row in content["arms"]:
        cells = [
            _score(row["miou"]),
            _score(row["deviation"]),
            _signed(row["difference"]),
            _interval(row),
            _percent(row["relative"], sign=True),
        ]
        table.add_row(row["arm"], *cells, *([] if teacher is None else [_percent(row["share_of_teacher"])]))
    if teacher is not None:
        difference = teacher["difference"] or {}
        table.add_section()
        table.add_row(
            "(teacher)",
            _score(teacher["miou"]),
            NOTHING,
            _signed(difference.get("estimate")),
            _interval(difference),
            _percent(difference.get("relative"), sign=True),
            NOTHING,
        )
    return table


def costs_table(content: Mapping[str, Any]) -> Table:
    """What each arm took, and how long it took to what the base reached at its best."""
    base, teacher = content["base"], content["teacher"]
    caption = "training steps alone, mean over the seeds; scoring not counted"
    if teacher is not None:
        caption += f"\nteacher: {_seconds(teacher['training_seconds'])} of training, "
        caption += f"{_seconds(teacher['cache_seconds'])} for its pass over the images"
    table = _table("What it took", caption)
    _columns(
        table, "seeds", "epochs", "img/s", "training", "+ teacher", f"to {_short(base, 10)}'s\nbest (val)", "agrees"
    )
    for row in content["arms"]:
        reached = row["seeds"] - row["seeds_not_reaching"]
        arrival = _seconds(row["seconds_to_base_best"]) if reached else "never"
        table.add_row(
            row["arm"],
            str(row["seeds"]),
            f"{row['epochs']:g}",
            NOTHING if row["images_per_second"] is None else f"{row['images_per_second']:.1f}",
            _seconds(row["train_seconds"]),
            _seconds(row["train_seconds_with_teacher"]) if row["teacher"] else NOTHING,
            arrival if reached in (0, row["seeds"]) else f"{arrival} ({reached}/{row['seeds']})",
            _percent(row["agreement"]),
        )
    return table


def transfer_table(content: Mapping[str, Any]) -> Table:
    """Scores on the second data set: what was retained."""
    base, teacher = content["base"], content["teacher"]
    table = _table("Scores on the second data set")
    _columns(table, "mIoU", f"of {_short(base, 16)}'s")
    if teacher is not None:
        _columns(table, "of teacher's")
    for row in content["arms"]:
        cells = [_score(row["transfer"]), _percent(row["transfer_of_base"])]
        table.add_row(row["arm"], *cells, *([] if teacher is None else [_percent(row["transfer_of_teacher"])]))
    if teacher is not None:
        table.add_section()
        table.add_row("(teacher)", _score(teacher["transfer"]), NOTHING, NOTHING)
    return table


def budget_table(budgets: Sequence[Row], base: str) -> Table:
    """Epochs at equal seconds, before anything trains.

    Args:
        budgets: ``arm``, ``epochs``, ``first_epoch``, ``last_epoch`` and ``seconds`` of each arm.
    """
    table = _table(f"As many epochs as fit into the time of {base}", "predicted from a few steps of each stage")
    _columns(table, "first stage", "last stage", "epochs", "in all")
    for row in budgets:
        cells = [f"{_seconds(row['first_epoch'])}/epoch", f"{_seconds(row['last_epoch'])}/epoch"]
        table.add_row(row["arm"], *cells, str(row["epochs"]), _seconds(row["seconds"]))
    return table


def _table(title: str, caption: str | None = None) -> Table:
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("arm", overflow="fold", min_width=11)
    return table


def _columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.4f}"


def _interval(row: Row) -> str:
    low, high = row.get("low"), row.get("high")
    return NOTHING if low is None or high is None else f"{low:+.4f} {high:+.4f}"


def _percent(value: float | None, sign: bool = False) -> str:
    if value is None:
        return NOTHING
    return f"{100 * value:+.1f} %" if sign else f"{100 * value:.1f} %"


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    if value < 600:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"
