"""Tables of the page: cells as text, what is a number stands right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snowmelt.reporting.page.reading import Sheet, listed, number


@dataclass(frozen=True)
class Table:
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1  # columns from the left that are no numbers


MEASURES = (
    ("iou", "IoU"),
    ("dice", "Dice"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("boundary_f", "boundary F"),
)
WHOLE = (
    ("miou", "mIoU"),
    ("mean_dice", "mean Dice"),
    ("mean_boundary_f", "mean boundary F"),
    ("pixel_accuracy", "pixel accuracy"),
    ("ece", "calibration error (ECE)"),
)


def class_table(sheet: Sheet) -> Table:
    """Every class with what was measured of the student, the teacher's IoU and the difference."""
    student, taught = sheet.student, (sheet.teacher or {}).get("iou") or {}
    measures = [(key, label) for key, label in MEASURES if isinstance(student.get(key), Mapping)]
    head = ["class", *(label for _, label in measures)]
    if taught:
        head += ["teacher's IoU", "difference"]
    rows = []
    for name in sheet.classes:
        row = [name, *(figure(student[key].get(name), absent="absent") for key, _ in measures)]
        if taught:
            one, other = number(student["iou"].get(name)), number(taught.get(name))
            gap = "" if one is None or other is None else f"{one - other:+.4f}"
            row += [figure(other, absent="absent"), gap]
        rows.append(tuple(row))
    return Table(f"By class, on {sheet.where}", tuple(head), tuple(rows))


def whole_table(sheet: Sheet) -> Table:
    """What is one figure for the whole set, student and teacher beside each other."""
    sides = [(sheet.who, sheet.student)] + ([("teacher", sheet.teacher)] if sheet.teacher else [])
    rows = [
        (label, *(figure(side.get(key)) for _, side in sides))
        for key, label in WHOLE
        if any(number(side.get(key)) is not None for _, side in sides)
    ]
    return Table(f"On {sheet.where}", ("score", *(who for who, _ in sides)), tuple(rows))


def group_tables(sheet: Sheet) -> list[Table]:
    """Scores by object size and by brightness, with whatever columns the evaluation gave a value in some row."""
    found = []
    for key, caption, span in (
        ("by_size", "By size of a class in its image", "share"),
        ("by_brightness", "By brightness of the image, 0 to 255", "brightness"),
    ):
        entries = [_spanned(entry, span) for entry in listed(sheet.rest.get(key)) if isinstance(entry, Mapping)]
        if entries:
            named = (str(name) for entry in entries for name, value in entry.items() if value is not None)
            head = tuple(dict.fromkeys(named))
            rows = tuple(
                tuple((figure if name.endswith("miou") else cell)(entry.get(name)) for name in head)
                for entry in entries
            )
            found.append(Table(f"{caption}, on {sheet.where}", tuple(map(_label, head)), rows))
    return found


def _spanned(entry: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """``low`` and ``high`` as one column that can be read: ``1 to 10 %``, ``69 to 108``."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    if low is None or high is None:
        return entry
    text = f"{100 * low:.3g} to {100 * high:.3g} %" if name == "share" else f"{low:.0f} to {high:.0f}"
    rest = {key: value for key, value in entry.items() if key not in ("group", "low", "high")}
    return {"group": entry.get("group"), name: text, **rest}


def latency_table(benchmark: Mapping[str, Any]) -> Table | None:
    """What the distillation bought: time, size and score of each form of the networks."""
    rows = [row for row in listed(benchmark.get("rows")) if isinstance(row, Mapping)]
    if not rows:
        return None
    scored = any(number(row.get("miou")) is not None for row in rows)
    head = ["", "runtime", "precision", "latency", "90 % below", "images/s", "parameters", "MACs", "file"]
    cells = [
        [
            cell(row.get("name")),
            cell(row.get("runtime")),
            cell(row.get("precision")),
            _unit(row.get("latency_ms"), "{:.1f} ms"),
            _unit(row.get("p90_ms"), "{:.1f} ms"),
            _unit(row.get("images_per_second"), "{:.1f}"),
            _large(row.get("parameters")),
            _large(row.get("macs")),
            size_of(row.get("file_bytes")),
            *([figure(row.get("miou"))] if scored else []),
        ]
        for row in rows
    ]
    words = [str(benchmark.get("device", "")), *_counted(benchmark.get("threads"), "thread")]
    size = benchmark.get("image_size")
    if size:
        words.append(f"images of {'x'.join(map(str, size)) if isinstance(size, Sequence) else size} pixels")
    words += [f"batches of {benchmark['batch']}"] if benchmark.get("batch") else []
    head += ["mIoU"] if scored else []
    return Table(", ".join(filter(None, words)), tuple(head), tuple(map(tuple, cells)), texts=3)


def figure(value: Any, absent: str = "") -> str:
    known = number(value)
    return absent if known is None else f"{known:.4f}"


def cell(value: Any) -> str:
    """Anything that a file may hold, short."""
    if value is None:
        return ""
    known = number(value)
    if known is None:
        return str(value)
    return f"{known:,}" if isinstance(known, int) else f"{known:.4g}"


def size_of(value: Any) -> str:
    """Bytes for a person."""
    known = number(value)
    if known is None:
        return ""
    return f"{known / 1e6:.1f} MB" if known >= 1e5 else f"{known / 1e3:.1f} kB"


def _large(value: Any) -> str:
    known = number(value)
    if known is None:
        return ""
    for least, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if known >= least:
            return f"{known / least:.2f} {sign}"
    return f"{known:.0f}"


def _unit(value: Any, form: str) -> str:
    known = number(value)
    return "" if known is None else form.format(known)


def _counted(value: Any, noun: str) -> list[str]:
    known = number(value)
    return [] if known is None else [f"{known:.0f} {noun}{'' if known == 1 else 's'}"]


def _label(name: str) -> str:
    return name.replace("_", " ").replace("miou", "mIoU")
