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

AT_ONCE = 8  # images, as many as a CPU scores at once
STEM_LENGTH = 80  # characters of an image's name in that of its picture


def draw_worst(material: Material, images: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Panels of image, truth, teacher, student and errors, in ``folder``; those of an earlier evaluation go.

    The networks are asked again about these few images: their answers to all others were not kept.

    Args:
        images: rows of ``worst_images``.
    """
    paths = []
    for rank, (row, panel) in enumerate(zip(images, _panels(material, images), strict=True), start=1):
        stem = re.sub(r"[^\w.-]+", "_", row["name"]).strip("._")[-STEM_LENGTH:] or "image"
        paths.append(folder / f"worst-{rank:02d}-{stem}.png")
        with replacing(paths[-1]) as file:
            Image.fromarray(panel).save(file, format="PNG")
    for old in set(folder.glob("worst-*.png")) - set(paths):
        old.unlink()
    return paths


def caption_of(row: Mapping[str, Any]) -> str:
    """Name and scores of an image in one line."""
    teacher = "" if row["teacher_miou"] is None else f", teacher {row['teacher_miou']:.4f}"
    return f"{row['name']}: mIoU {row['miou']:.4f}{teacher}"


def _panels(material: Material, images: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
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
            shown = show(source, row["index"], batch, place, student, teacher)
            yield prediction_panel(
                shown.image, shown.truth, shown.student, source.classes, shown.teacher, caption_of(row)
            )
