"""``summary.json``: what a finished run leaves for whoever asks later, reuse of teachers among them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snowmelt.reporting import RunFolder, replace_file

FILE = "summary.json"


def write_record(folder: RunFolder, record: dict[str, Any]) -> None:
    """Keep ``record`` as the run's outcome. A score that is not a number becomes ``null``."""
    plain = {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
    replace_file(folder.root / FILE, json.dumps(plain, indent=2) + "\n")


def read_record(root: Path) -> dict[str, Any] | None:
    """The outcome of the run in ``root``, or ``None`` while it has not ended (or the file is not readable)."""
    try:
        record = json.loads((root / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def is_finished(record: dict[str, Any] | None, max_steps: int | None) -> bool:
    """Whether a run with this outcome has nothing left to do."""
    if record is None:
        return False
    if record.get("reason") in ("complete", "plateau"):
        return True
    return max_steps is not None and int(record.get("step", 0)) >= max_steps


def score_of(record: dict[str, Any] | None) -> str:
    """The best mIoU in words; a run in which no epoch had one, for want of any class, is finished, too."""
    miou = None if record is None else record.get("best_miou")
    return "unknown" if miou is None else f"{miou:.4f}"


def all_records(output: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Outcomes of all runs below ``output``, with their folders."""
    for path in sorted(output.glob(f"*/{FILE}")):
        record = read_record(path.parent)
        if record is not None:
            yield path.parent, record


def best_plain(output: Path, data: str, image_size: int | None, encoder: str) -> tuple[Path, float] | None:
    """The best finished run without a teacher, of the same student on the same data."""
    found = [
        (path, float(record["best_miou"]))
        for path, record in all_records(output)
        if not record.get("distills")
        and record.get("data") == data
        and record.get("image_size") == image_size
        and record.get("encoder") == encoder
        and record.get("best_miou") is not None
    ]
    return max(found, key=lambda item: item[1], default=None)
