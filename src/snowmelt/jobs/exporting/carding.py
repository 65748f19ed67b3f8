"""What a run knows about itself that belongs on a model card."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from snowmelt.build import is_scenes, make_plan_of
from snowmelt.config import ExperimentConfig
from snowmelt.export import CardContent, Facts, Scores, card_text
from snowmelt.jobs.opening import TrainedRun
from snowmelt.jobs.records import read_record
from snowmelt.reporting import RunFolder, plan_table, read_metrics

PARTS = ("test", "val")  # of the scores that may be there; the first has it
_WIDTH = 100


def card_of(trained: TrainedRun, facts: Facts, onnx_files: Sequence[str], licence: str | None = None) -> str:
    """The card's text. Folders of this machine are left out, names are kept."""
    config = trained.config
    content = CardContent(
        name=facts.source_run,
        facts=facts,
        data="Not known" if config is None else data_name(config),
        schedule="" if config is None else schedule_text(config, int(facts.network["out_channels"])),
        epochs=None if config is None else config.training.epochs,
        teacher=None if config is None or not config.distills else teacher_name(config),
        scores=None if trained.root is None else scores_of(trained.root),
        onnx=next((name for name in onnx_files if "int8" not in name), None),
        int8=next((name for name in onnx_files if "int8" in name), None),
        encoder_weights=None if config is None else encoder_weights_of(config),
        licence=licence,
        generated=config is not None and is_scenes(config),
    )
    return card_text(content)


def data_name(config: ExperimentConfig) -> str:
    """``ccp (masks: parts)`` for a folder, the annotation file for COCO, the spec itself for generated scenes."""
    source = config.data.source
    if is_scenes(config):
        return f"Embedded scenes ({source})"
    if source.startswith("coco:"):
        images, _, rest = source.removeprefix("coco:").partition(":")
        file, _, categories = rest.partition(":")
        return f"{Path(file or images).name}{f' (categories: {categories})' if categories else ''}"
    limit = "" if config.data.limit is None else f", {config.data.limit} training images"
    return f"{Path(source).resolve().name} (masks: {config.data.mask_folder}{limit})"


def teacher_name(config: ExperimentConfig) -> str:
    """Its network where this run trained it, else the name of what was given."""
    source = config.teacher.source
    if source == "auto":
        return f"{config.teacher.network.architecture} with `{config.teacher.network.encoder}`"
    return f"`{Path(source.split(':', 1)[-1]).name}`"


def encoder_weights_of(config: ExperimentConfig) -> str | None:
    """``the file NAME``, or the hub's; nothing where the encoder began at random."""
    weights = config.student.weights
    if weights == "none":
        return None
    if weights in ("imagenet", "auto"):
        return "the hub's ImageNet weights"
    return f"`{Path(weights).name}`"


def schedule_text(config: ExperimentConfig, channels: int) -> str:
    """The plan as ``snowmelt plan`` shows it."""
    console = Console(file=io.StringIO(), width=_WIDTH)
    console.print(plan_table(make_plan_of(config, channels)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip())


def scores_of(root: Path) -> Scores | None:
    """From ``evaluation/``, else ``test_scores.json``, else what the run itself noted about its best epoch."""
    for part in PARTS:
        found = _read(root / "evaluation" / f"{part}.json")
        if found is not None:
            return _from_evaluation(found)
    found = _read(root / "test_scores.json")
    if found is not None:
        return Scores(
            part=found["part"],
            images=found["images"],
            miou=found["miou"],
            iou=found["iou"],
            teacher_miou=found["teacher_miou"],
            teacher_iou=found["teacher_iou"],
            agreement=found["agreement"],
        )
    return _from_training(root)


def _from_evaluation(found: Mapping[str, Any]) -> Scores:
    student, teacher, agreement = found["student"], found.get("teacher"), found.get("agreement")
    share = agreement.get("pixels", agreement.get("share")) if isinstance(agreement, dict) else agreement
    return Scores(
        part=found["split"],
        images=found["images"],
        miou=student["miou"],
        iou=student["iou"],
        teacher_miou=None if teacher is None else teacher["miou"],
        teacher_iou=None if teacher is None else teacher["iou"],
        agreement=share if isinstance(share, float) else None,
    )


def _from_training(root: Path) -> Scores | None:
    record, folder = read_record(root), RunFolder(root)
    if record is None or record.get("best_miou") is None or not folder.metrics_file.exists():
        return None
    row = next((row for row in read_metrics(folder.metrics_file) if row.get("epoch") == record["best_epoch"]), {})
    iou = {key.removeprefix("iou/"): _number(value) for key, value in row.items() if key.startswith("iou/")}
    return Scores("val", None, record["best_miou"], iou, agreement=_number(row.get("agreement")))


def _number(value: object) -> float | None:
    return value if isinstance(value, float) and value == value else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
