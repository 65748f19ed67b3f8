"""An evaluation as tables: by class, as a whole, by size and brightness, and the worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from snowmelt.reporting.sheet import Sheet

ABSENT = "absent"
NOTHING = "-"
SCORES = {"iou": "IoU", "dice": "Dice", "precision": "precision", "recall": "recall", "boundary_f": "boundary F"}
MEANS = {
    "iou": "miou",
    "dice": "mean_dice",
    "precision": "mean_precision",
    "recall": "mean_recall",
    "boundary_f": "mean_boundary_f",
}


def evaluation_tables(content: Mapping[str, Any]) -> list[Sheet]:
    """The tables of an evaluation.

    Args:
        content: what ``evaluation/<split>.json`` holds.
    """
    title = f"{content['run']} on {images_of(content)}"
    outlines = f"boundary F: within {100 * content['boundary_tolerance']:g} % of the image's diagonal"
    tables = [
        classes_table(content, ("iou", "dice", "boundary_f"), title, outlines),
        classes_table(content, ("precision", "recall"), "Right among the predicted, found among the true"),
        whole_table(content),
    ]
    tables += [make(content) for key, make in GROUPS.items() if content[key]]
    if content["worst"]:
        tables.append(_worst_table(content))
    return tables


def classes_table(content: Mapping[str, Any], scores: Sequence[str], title: str, caption: str | None = None) -> Sheet:
    """A row for each class, student and teacher side by side, and their means."""
    answerers = _answerers(content)
    heads = [
        f"{SCORES[score]}\n{who}" if len(answerers) > 1 else SCORES[score] for score in scores for who in answerers
    ]
    table = Sheet(title, heads, caption, first="class")
    for name in content["classes"]:
        cells = []
        for score in scores:
            for each in answerers.values():
                there = each["iou"][name] is not None
                cells.append(_figure(each[score][name], NOTHING if there else ABSENT))
        table.add_row(name, *cells)
    table.add_section()
    table.add_row("mean", *(_figure(each[MEANS[score]]) for score in scores for each in answerers.values()))
    return table


def whole_table(content: Mapping[str, Any]) -> Sheet:
    """What has no class: accuracy, calibration, agreement."""
    answerers = _answerers(content)
    table = Sheet("All pixels", list(answerers), first="score")
    table.add_row("pixel accuracy", *(_figure(each["pixel_accuracy"]) for each in answerers.values()))
    table.add_row("calibration error (ECE)", *(_figure(each["ece"]) for each in answerers.values()))
    if content["agreement"] is not None:
        table.add_row("agrees with the teacher", _figure(content["agreement"]["pixels"]), NOTHING)
        table.add_row("mIoU against the teacher's labels", _figure(content["agreement"]["miou"]), NOTHING)
    return table


def images_of(content: Mapping[str, Any]) -> str:
    """How many images of what part, such as ``20 test images``."""
    return f"{content['images']} {'' if content['split'] == 'all' else content['split'] + ' '}images"


def range_of(row: Mapping[str, Any], scale: float = 1.0, unit: str = "") -> str:
    """From where to where a group goes, such as ``1 to 10 %``."""
    return f"{row['low'] * scale:.3g} to {row['high'] * scale:.3g}{unit and ' ' + unit}"


def size_table(content: Mapping[str, Any]) -> Sheet:
    """Scores by the share of its image that a class takes."""
    title, note = "By size of a class in its image", "share of the image; the background is not among them"
    return _groups_table(content, content["by_size"], ["share", "regions"], title, note, 100.0, "%")


def brightness_table(content: Mapping[str, Any]) -> Sheet:
    """Scores by the mean brightness of an image."""
    return _groups_table(
        content, content["by_brightness"], ["brightness", "images"], "By brightness of the image, 0 to 255"
    )


GROUPS = {"by_size": size_table, "by_brightness": brightness_table}


def _groups_table(
    content: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    heads: Sequence[str],
    title: str,
    note: str | None = None,
    scale: float = 1.0,
    unit: str = "",
) -> Sheet:
    taught = content["teacher"] is not None
    table = Sheet(title, [*heads, "mIoU", "teacher"] if taught else [*heads, "mIoU"], note, first="group")
    for row in rows:
        cells = [range_of(row, scale, unit), str(row[heads[1]]), _figure(row["miou"])]
        table.add_row(row["group"], *cells, *([_figure(row["teacher_miou"])] if taught else []))
    return table


def _worst_table(content: Mapping[str, Any]) -> Sheet:
    taught = content["teacher"] is not None
    table = Sheet("The worst images", ["mIoU", "teacher"] if taught else ["mIoU"], first="image")
    for row in content["worst"]:
        table.add_row(row["name"], _figure(row["miou"]), *([_figure(row["teacher_miou"])] if taught else []))
    return table


def _answerers(content: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {who: content[who] for who in ("student", "teacher") if content[who] is not None}


def _figure(value: float | None, missing: str = NOTHING) -> str:
    return missing if value is None else f"{value:.4f}"
