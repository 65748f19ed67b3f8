"""Pictures of the images on which the student is worst."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from snowmelt.data import EvaluationDataset, build_evaluation_transform, collate
from snowmelt.disk import replacing
from snowmelt.evaluation import predict_classes, prediction_panel
from snowmelt.jobs.evaluating.material import Material
from snowmelt.jobs.pictures import show
from snowmelt.reporting import Prediction, write_layers

AT_ONCE = 8  # images, as many as a CPU scores at once
STEM_LENGTH = 80  # characters of an image's name in that of its picture


def draw_worst(material: Material, images: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Image, truth, teacher, student and errors of each, in ``folder``; those of an earlier evaluation go.

    The networks are asked again about these few images: their answers to all others were not kept.

    Args:
        images: rows of ``worst_images``.

    Returns:
        For each its files, as paths from the folder above: ``overlay``, all of it side by side, and ``layers``.
    """
    found, written, layers = [], set(), folder / "layers"
    if images:
        layers.mkdir(exist_ok=True)
    classes = material.source.classes
    for rank, (row, shown) in enumerate(zip(images, _predictions(material, images), strict=True), start=1):
        stem = re.sub(r"[^\w.-]+", "_", row["name"]).strip("._")[-STEM_LENGTH:] or "image"
        overlay = folder / f"worst-{rank:02d}-{stem}.png"
        panel = prediction_panel(shown.image, shown.truth, shown.student, classes, shown.teacher, caption_of(row))
        with replacing(overlay) as file:
            Image.fromarray(panel).save(file, format="PNG")
        names = write_layers(layers, rank, shown, classes)
        written |= {overlay, *(layers / name for name in names.values())}
        base = f"{folder.name}/{layers.name}"
        found.append(
            {
                "overlay": f"{folder.name}/{overlay.name}",
                "layers": {layer: f"{base}/{name}" for layer, name in names.items()},
            }
        )
    for old in {*folder.glob("worst-*.png"), *layers.glob("*.webp")} - written:
        old.unlink()
    if not images and layers.is_dir():
        layers.rmdir()
    return found


def caption_of(row: Mapping[str, Any]) -> str:
    """Name and scores of an image in one line."""
    teacher = "" if row["teacher_miou"] is None else f", teacher {row['teacher_miou']:.4f}"
    return f"{row['name']}: mIoU {row['miou']:.4f}{teacher}"


def _predictions(material: Material, images: Sequence[Mapping[str, Any]]) -> Iterator[Prediction]:
    source, device = material.source, material.engine.device
    size = material.config.data.image_size
    assert size is not None
    dataset = EvaluationDataset(source, build_evaluation_transform(size))
    for first in range(0, len(images), AT_ONCE):
        rows = images[first : first + AT_ONCE]
        batch = collate([dataset[row["index"]] for row in rows])
        moved = batch.to(device)
        with torch.no_grad():
            student = predict_classes(material.student(moved)).cpu().numpy()
            teacher = None if material.teacher is None else predict_classes(material.teacher(moved)).cpu().numpy()
        for place, row in enumerate(rows):
            yield show(source, row["index"], batch, place, student, teacher)
