"""A comparison of arms as tables: scores, costs, and scores on a second data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snowmelt.reporting.sheet import Sheet

Row = Mapping[str, Any]
NOTHING = "-"
TEACHER = "(teacher)"  # in the column of names


def comparison_tables(content: Mapping[str, Any]) -> list[Sheet]:
    """The tables of a comparison.

    Args:
        content: what ``comparison.json`` holds: ``name``, ``part``, ``base``, ``arms`` (the rows), ``teacher``.
    """
    tables = [scores_table(content), costs_table(content)]
    if any(row["transfer"] is not None for row in content["arms"]):
        tables.append(transfer_table(content))
    return tables


def scores_table(content: Mapping[str, Any]) -> Sheet:
    """mIoU by arm, its spread over the seeds, and the difference to the base with its interval."""
    base, teacher = content["base"], content["teacher"]
    level = f"{100 * content['statistics']['level']:.4g} %"
    differences = intervals_of(content)
    alone = [rests_on_one_seed(each) for each in differences.values()]
    interval = f"{level} interval\nof the images\nalone*" if alone and all(alone) else f"{level}\ninterval"
    marked = any(alone) and not all(alone)  # rows of both kinds are told apart one by one
    caption = "* one seed: of the images alone, says nothing about the next seed" if any(alone) else None
    heads = ["mIoU", "sd over\nseeds", f"vs {_short(base, 10)}", interval, "relative"]
    table = Sheet(
        f"{content['name']}: scores on {content['part']}",
        heads if teacher is None else [*heads, "of\nteacher"],
        caption,
    )
    for row in content["arms"]:
        cells = [
            _score(row["miou"]),
            _score(row["deviation"]),
            _signed(row["difference"]),
            _interval(differences.get(row["arm"]), marked),
            _percent(row["relative"], sign=True),
        ]
        table.add_row(row["arm"], *cells, *([] if teacher is None else [_percent(row["share_of_teacher"])]))
    if teacher is not None:
        difference = teacher["difference"] or {}
        table.add_section()
        table.add_row(
            TEACHER,
            _score(teacher["miou"]),
            NOTHING,
            _signed(difference.get("estimate")),
            _interval(differences.get(TEACHER), marked),
            _percent(difference.get("relative"), sign=True),
            NOTHING,
        )
    return table


def costs_table(content: Mapping[str, Any]) -> Sheet:
    """What each arm took, and how long it took to the mean of the best scores of the base's seeds."""
    base, teacher = content["base"], content["teacher"]
    caption = "training steps alone, mean over the seeds; scoring not counted"
    if teacher is not None:
        caption += f"\nteacher: {_seconds(teacher['training_seconds'])} of training, "
        caption += f"{_seconds(teacher['cache_seconds'])} for its pass over the images"
    whose = f"{_short(base, 10)}'s"
    caption += f"\nmean best (val): mean of the best validation scores of {whose} seeds"
    for row in content["arms"]:
        seeds, reached = row["seeds"], row["seeds"] - row["seeds_not_reaching"]
        if 0 < reached < seeds:
            reach = "reaches" if reached == 1 else "reach"
            caption += f"\n({reached}/{seeds}): {reached} of {seeds} seeds {reach} it; "
            caption += "a seed of the base's own may miss it, too"
            break  # one example explains them all
    table = Sheet(
        "What it took",
        ["seeds", "epochs", "img/s", "training", "+ teacher", f"to {whose}\nmean best\n(val)", "agrees"],
        caption,
    )
    for row in content["arms"]:
        reached = row["seeds"] - row["seeds_not_reaching"]
        arrival = _seconds(row["seconds_to_base_best"]) if reached else "never"
        table.add_row(
            row["arm"],
            str(row["seeds"]),
            f"{round(row['epochs'], 1):g}",  # a mean: seeds may stop at different epochs
            NOTHING if row["images_per_second"] is None else f"{row['images_per_second']:.1f}",
            _seconds(row["train_seconds"]),
            _seconds(row["train_seconds_with_teacher"]) if row["teacher"] else NOTHING,
            arrival if reached in (0, row["seeds"]) else f"{arrival} ({reached}/{row['seeds']})",
            _percent(row["agreement"]),
        )
    return table


def transfer_table(content: Mapping[str, Any]) -> Sheet:
    """Scores on the second data set: what was retained."""
    base, teacher = content["base"], content["teacher"]
    heads = ["mIoU", f"of {_short(base, 16)}'s"]
    table = Sheet("Scores on the second data set", heads if teacher is None else [*heads, "of teacher's"])
    for row in content["arms"]:
        cells = [_score(row["transfer"]), _percent(row["transfer_of_base"])]
        table.add_row(row["arm"], *cells, *([] if teacher is None else [_percent(row["transfer_of_teacher"])]))
    if teacher is not None:
        table.add_section()
        table.add_row(TEACHER, _score(teacher["transfer"]), NOTHING, NOTHING)
    return table


def budget_table(budgets: Sequence[Row], base: str) -> Sheet:
    """Epochs at equal seconds, before anything trains.

    Args:
        budgets: ``arm``, ``epochs``, ``first_epoch``, ``last_epoch`` and ``seconds`` of each arm.
    """
    heads = ["first stage", "last stage", "epochs", "in all"]
    table = Sheet(f"As many epochs as fit into the time of {base}", heads, "predicted from a few steps of each stage")
    for row in budgets:
        cells = [f"{_seconds(row['first_epoch'])}/epoch", f"{_seconds(row['last_epoch'])}/epoch"]
        table.add_row(row["arm"], *cells, str(row["epochs"]), _seconds(row["seconds"]))
    return table


def intervals_of(content: Mapping[str, Any]) -> dict[str, Row]:
    """The differences to the base that have an interval, by arm; the teacher's is ``TEACHER``."""
    teacher = content["teacher"]
    differences = {**content["differences"], TEACHER: None if teacher is None else teacher["difference"]}
    return {name: each for name, each in differences.items() if each is not None and each["low"] is not None}


def rests_on_one_seed(difference: Row) -> bool:
    """Whether its interval is over images alone and says nothing about the next seed."""
    return bool(difference["seeds"] == 1)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _score(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return NOTHING if value is None else f"{value:+.4f}"


def _interval(difference: Row | None, marked: bool) -> str:
    if difference is None:
        return NOTHING
    ends = f"{difference['low']:+.4f} {difference['high']:+.4f}"
    return f"* {ends}" if marked and rests_on_one_seed(difference) else ends


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
