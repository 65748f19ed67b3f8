"""What lies in a run folder, as far as it is there and whole; a run that still trains is read like any other."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snowmelt.errors import SnowmeltError
from snowmelt.reporting.csv_cells import Row, read_csv
from snowmelt.reporting.run_folder import RunFolder

TAIL = 40  # lines of the newest log that are shown
WIDEST = 2000  # characters of a line


@dataclass(frozen=True)
class Sheet:
    """Scores of student and teacher on one set of images.

    ``student`` and ``teacher`` have ``miou``, ``iou`` by class, and more where it was measured; a file of
    ``snowmelt evaluate`` has everything, other files less.
    """

    file: str  # where it stands in the run folder
    split: str
    images: int | None
    classes: tuple[str, ...]
    student: Mapping[str, Any]
    teacher: Mapping[str, Any] | None = None
    agreement: float | None = None
    rest: Mapping[str, Any] = field(default_factory=dict)
    who: str = "student"  # what the page calls the network that was trained; a teacher's own run has a teacher there

    @property
    def where(self) -> str:
        """``16 test images``, ``the validation images``."""
        split = {"val": "validation"}.get(self.split, self.split)
        text = f"the {split} images" if self.images is None else f"{self.images} {split} images"
        if self.rest.get("data"):
            text += f" of {self.rest['data']}"
        return text if self.by_best else f"{text}, by the last weights"

    @property
    def by_best(self) -> bool:
        """Whether they are the best weights' scores, and not the last ones'."""
        return "last" not in str(self.rest.get("weights", "best")).rpartition("/")[2]

    @property
    def rank(self) -> int:
        """The most telling have the lowest: the best weights on the run's own data, test before validation."""
        if not self.by_best or self.rest.get("data"):
            return 4
        return {"test": 0, "val": 2, "train": 3}.get(self.split, 1)


@dataclass(frozen=True)
class RunContent:
    """A run as its files tell it. What is missing is empty, and ``doubts`` names files that could not be read."""

    folder: RunFolder
    settings: Mapping[str, Any]
    provenance: Mapping[str, Any]
    plan: list[Row]
    metrics: list[Row]
    timing: list[Row]
    record: Mapping[str, Any]
    sheets: tuple[Sheet, ...]  # the most telling first
    benchmark: Mapping[str, Any]
    pictures: list[Mapping[str, Any]]  # entries of predictions/layers.json
    log: list[str]
    warnings: list[str]
    doubts: list[str]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def epochs(self) -> int:
        """Epochs of the whole run, whether they are over or not."""
        planned = [int(number(row.get("epoch")) or 0) + 1 for row in (*self.plan, *self.metrics)]
        return max(planned, default=0)

    @property
    def runs(self) -> bool:
        """Whether it has not come to its end, as far as its files tell."""
        if not self.record:
            return True
        last = number(self.metrics[-1].get("step")) if self.metrics else None
        return last is not None and last > (number(self.record.get("step")) or 0)

    @property
    def classes(self) -> tuple[str, ...]:
        if self.sheets:
            return self.sheets[0].classes
        return tuple(str(name) for name in self.record.get("classes") or ())


def read_run(folder: RunFolder) -> RunContent:
    """Everything in ``folder`` that the page shows, pictures aside."""
    doubts: list[str] = []
    config = _yaml(folder, doubts)
    metrics = _table(folder.metrics_file, doubts)
    log = _log(folder.logs)
    record = _json(folder.root / "summary.json", doubts)
    layers = _json(folder.predictions / "layers.json", doubts).get("images")
    return RunContent(
        folder=folder,
        settings=config[0],
        provenance=config[1],
        plan=_table(folder.plan_file, doubts),
        metrics=metrics,
        timing=_table(folder.timing_file, doubts),
        record=record,
        sheets=tuple(_sheets(folder, metrics, doubts)),
        benchmark=_json(folder.root / "benchmark.json", doubts),
        pictures=[
            entry for entry in listed(layers) if isinstance(entry, dict) and isinstance(entry.get("layers"), dict)
        ],
        log=log[-TAIL:],
        warnings=_warnings(folder.logs),
        doubts=doubts,
    )


def number(value: Any) -> float | None:
    """``value`` if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value


def listed(value: Any) -> list[Any]:
    """``value`` if it is a list; a file may hold anything."""
    return value if isinstance(value, list) else []


def _sheets(folder: RunFolder, metrics: list[Row], doubts: list[str]) -> list[Sheet]:
    """Test before validation, what was evaluated before what training wrote."""
    evaluated = [
        sheet
        for path in sorted((folder.root / "evaluation").glob("*.json"))
        if (sheet := _evaluated(_json(path, doubts), f"evaluation/{path.name}", path.stem)) is not None
    ]
    tested = _tested(_json(folder.root / "test_scores.json", doubts))
    validated = _evaluated(_json(folder.validation_file, doubts), folder.validation_file.name, "val")
    if validated is None:
        validated = _best_epoch(metrics)
    found = [sheet for sheet in (*evaluated, tested, validated) if sheet is not None]
    return sorted(found, key=lambda sheet: sheet.rank)


def _evaluated(content: Mapping[str, Any], file: str, split: str) -> Sheet | None:
    student, teacher = _side(content.get("student")), _side(content.get("teacher"))
    if student is None:
        return None
    classes = tuple(str(name) for name in listed(content.get("classes")) or student["iou"])
    agreement = content.get("agreement")
    shared = agreement.get("pixels") if isinstance(agreement, dict) else agreement
    images = number(content.get("images"))
    return Sheet(
        file=file,
        split=str(content.get("split") or split),
        images=None if images is None else int(images),
        classes=classes,
        student=student,
        teacher=teacher,
        agreement=number(shared),
        rest=content,
    )


def _side(value: Any) -> dict[str, Any] | None:
    if not isinstance(value, dict) or not isinstance(value.get("iou"), dict):
        return None
    return value


def _tested(content: Mapping[str, Any]) -> Sheet | None:
    """``test_scores.json`` of ``--test-only``: IoU alone."""
    iou, teacher = content.get("iou"), content.get("teacher_iou")
    if not isinstance(iou, dict):
        return None
    taught = {"miou": content.get("teacher_miou"), "iou": teacher} if isinstance(teacher, dict) else None
    images = number(content.get("images"))
    return Sheet(
        file="test_scores.json",
        split=str(content.get("part", "test")),
        images=None if images is None else int(images),
        classes=tuple(map(str, iou)),
        student={"miou": content.get("miou"), "iou": iou},
        teacher=taught,
        agreement=number(content.get("agreement")),
    )


def _best_epoch(metrics: list[Row]) -> Sheet | None:
    """The best row of metrics.csv, for runs without ``validation.json``: the teacher's classes are not in it."""
    scored = [row for row in metrics if number(row.get("miou")) is not None]
    if not scored:
        return None
    best = max(scored, key=lambda row: number(row["miou"]) or 0.0)
    iou = {name.removeprefix("iou/"): value for name, value in best.items() if name.startswith("iou/")}
    teacher = number(best.get("teacher_miou"))
    return Sheet(
        file="metrics.csv",
        split="val",
        images=None,
        classes=tuple(iou),
        student={"miou": best["miou"], "iou": iou},
        teacher=None if teacher is None else {"miou": teacher, "iou": {}},
        agreement=number(best.get("agreement")),
    )


def _yaml(folder: RunFolder, doubts: list[str]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    if not folder.config_file.exists():
        return {}, {}
    try:
        return folder.read_config(), folder.read_provenance()
    except SnowmeltError as error:
        doubts.append(str(error))
        return {}, {}


def _table(path: Path, doubts: list[str]) -> list[Row]:
    if not path.exists():
        return []
    try:
        return [row for row in read_csv(path)[1] if number(row.get("epoch")) is not None]
    except SnowmeltError as error:
        doubts.append(str(error))
        return []


def _json(path: Path, doubts: list[str]) -> Mapping[str, Any]:
    """An object, or an empty one where the file is missing, cut or something else."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        doubts.append(f"{path.name}: cannot be read ({error})")
        return {}
    if not isinstance(content, dict):
        doubts.append(f"{path.name}: holds no object")
        return {}
    return content


def _log(logs: Path) -> list[str]:
    newest = max(logs.glob("training_log_*.txt"), key=lambda path: path.stat().st_mtime, default=None)
    return [] if newest is None else _lines(newest)


def _warnings(logs: Path) -> list[str]:
    """Each warning of all starts of the run once, in the order in which they came."""
    found: dict[str, None] = {}
    for path in sorted(logs.glob("training_log_*.txt")):
        for line in _lines(path):
            match = re.match(r"\S+ \S+ warning (.+)", line)
            if match:
                found[match[1]] = None
    return list(found)


def _lines(path: Path) -> list[str]:
    try:
        return [line[:WIDEST] for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return []
