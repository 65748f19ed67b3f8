"""What the page says of a run in a sentence and in a handful of figures."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snowmelt.reporting.page.reading import RunContent, Sheet, listed, number


@dataclass(frozen=True)
class Plain:
    """The best student without a teacher that was trained beside this run on the same data."""

    name: str
    miou: float


@dataclass(frozen=True)
class Figure:
    label: str
    value: str
    note: str = ""


def verdict(content: RunContent, plain: Plain | None = None, teaches: bool = False) -> str:
    """One sentence or two: how good it is, against its teacher and against the best plain student.

    Args:
        teaches: the run is a teacher's.
    """
    sheet = content.sheets[0] if content.sheets else None
    miou = None if sheet is None else number(sheet.student.get("miou"))
    if sheet is None or miou is None:
        return "No epoch is over yet: there is nothing to score." if content.runs else "Nothing was scored in this run."
    who = "teacher" if teaches else "student"
    if content.runs:
        text = f"{_progress(content)}; so far the {who} reaches mIoU {miou:.4f} on {sheet.where}"
    else:
        text = f"The {who} reaches mIoU {miou:.4f} on {sheet.where}"
    against = _against_teacher(sheet, miou)
    text += f", {against}." if against else "."
    best = number(content.record.get("best_miou"))
    if plain is not None and best is not None and plain.name != content.name:
        text += f" On validation it is {_gap(best - plain.miou)} the best plain student here, {plain.name} "
        text += f"({plain.miou:.4f})."
    return text


def key_figures(content: RunContent, teaches: bool = False) -> list[Figure]:
    """The most telling first, as many as there are."""
    found: list[Figure] = []
    if content.sheets:
        sheet = content.sheets[0]
        student, teacher = number(sheet.student.get("miou")), number((sheet.teacher or {}).get("miou"))
        if student is not None:
            found.append(Figure("teacher mIoU" if teaches else "student mIoU", f"{student:.4f}", f"on {sheet.where}"))
        if teacher is not None:
            note = "" if student is None or not teacher else f"; the student has {100 * student / teacher:.1f} %"
            found.append(Figure("teacher mIoU", f"{teacher:.4f}", f"on the same images{note}"))
        if sheet.agreement is not None:
            found.append(Figure("agreement", f"{100 * sheet.agreement:.1f} %", "pixels on which both say the same"))
    found += _training(content)
    found += _speed(content.benchmark)
    return found


def _training(content: RunContent) -> list[Figure]:
    found = []
    if content.metrics:
        done = len(content.metrics)
        value = f"{done} of {content.epochs}" if content.runs or done < content.epochs else f"{done}"
        found.append(Figure("epochs", value, _best(content)))
    seconds = [number(row.get(name)) or 0.0 for row in content.timing for name in ("train_seconds", "score_seconds")]
    if sum(seconds) > 0:
        rates = [rate for row in content.timing if (rate := number(row.get("images_per_second"))) is not None]
        note = f"{sorted(rates)[len(rates) // 2]:.1f} images/s" if rates else ""
        found.append(Figure("training time", duration(sum(seconds)), note))
    return found


def _speed(benchmark: Mapping[str, Any]) -> list[Figure]:
    """The quickest row of the student against the teacher's first, where both were measured."""
    rows = [row for row in listed(benchmark.get("rows")) if isinstance(row, dict) and number(row.get("latency_ms"))]
    teachers = [row for row in rows if "teacher" in str(row.get("name", "")).lower()]
    students = [row for row in rows if row not in teachers]
    if not students:
        return []
    quickest = min(students, key=lambda row: row["latency_ms"])
    note = " ".join(str(quickest[key]) for key in ("name", "runtime", "precision") if quickest.get(key))
    if teachers:
        note += f", {teachers[0]['latency_ms'] / quickest['latency_ms']:.1f} times as quick as the teacher"
    return [Figure("latency", f"{quickest['latency_ms']:.1f} ms", note)]


def duration(seconds: float) -> str:
    """``38 s``, ``4 min 10 s``, ``3 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def name_for_commands(content: RunContent) -> str:
    """What a command is given to find the run."""
    root = content.folder.root
    return shlex.quote(content.name if root.parent.name == "experiments" else str(root))


def _progress(content: RunContent) -> str:
    return f"{len(content.metrics)} of {content.epochs} epochs are done"


def _best(content: RunContent) -> str:
    best = number(content.record.get("best_epoch"))
    reason = {"plateau": "ended early, no longer rising", "max_steps": "cut by max_steps"}.get(
        str(content.record.get("reason")), ""
    )
    parts = [f"best in epoch {best:.0f}" if best is not None and best >= 0 else "", reason]
    return "; ".join(part for part in parts if part)


def _against_teacher(sheet: Sheet, miou: float) -> str:
    teacher = number((sheet.teacher or {}).get("miou"))
    if not teacher:
        return ""
    gap = f"{_gap(miou - teacher)} its teacher ({teacher:.4f})"
    return f"{gap}, {100 * miou / teacher:.1f} % of it" if miou < teacher else gap


def _gap(difference: float) -> str:
    if abs(difference) < 0.00005:
        return "level with"
    return f"{abs(difference):.4f} {'above' if difference > 0 else 'below'}"
