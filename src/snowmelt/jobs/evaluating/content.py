"""What was measured, as ``evaluation/<split>.json`` holds it. docs/evaluate.md explains every key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from snowmelt.evaluation import Group, ImageCounts, by_brightness, by_size, class_scores, mean_of
from snowmelt.jobs.evaluating.measuring import Measured, Measures

FORMAT = 1


def scores_content(measured: Measured, classes: Sequence[str]) -> dict[str, Any]:
    """The measured part of the file: scores of both, agreement, and groups."""
    return {
        "student": _answerer(measured.student, classes),
        "teacher": None if measured.teacher is None else _answerer(measured.teacher, classes),
        "agreement": None if measured.agreement is None else _agreement(measured.agreement),
        "by_size": [
            _group(group, "regions", measured) for group in by_size(measured.student.counts.truth) if group.count
        ],
        "by_brightness": [_group(group, "images", measured) for group in by_brightness(measured.brightness)],
    }


def worst_images(measured: Measured, names: Sequence[str], count: int) -> list[dict[str, Any]]:
    """``count`` images with the lowest mIoU of the student, the worst first; none without labelled pixels."""
    student = measured.student.counts.miou_by_image()
    teacher = None if measured.teacher is None else measured.teacher.counts.miou_by_image()
    order = [int(index) for index in np.argsort(student, kind="stable") if not np.isnan(student[index])]
    return [
        {
            "index": index,
            "name": names[index],
            "miou": number(student[index]),
            "teacher_miou": None if teacher is None else number(teacher[index]),
        }
        for index in order[:count]
    ]


def number(value: float) -> float | None:
    """``None`` for what has no meaning: JSON has no NaN."""
    return float(value) if math.isfinite(value) else None


def _answerer(measures: Measures, classes: Sequence[str]) -> dict[str, Any]:
    matrix = measures.matrix
    scores, boundary = class_scores(matrix), measures.boundaries.scores().numpy()

    def named(values: np.ndarray) -> dict[str, float | None]:
        return {name: number(value) for name, value in zip(classes, values, strict=True)}

    return {
        "miou": number(scores.miou),
        "mean_dice": number(scores.mean_dice),
        "mean_precision": number(mean_of(scores.precision)),
        "mean_recall": number(mean_of(scores.recall)),
        "mean_boundary_f": number(mean_of(boundary)),
        "pixel_accuracy": number(measures.confusion.accuracy()),
        "ece": number(measures.calibration.error()),
        "iou": named(scores.iou),
        "dice": named(scores.dice),
        "precision": named(scores.precision),
        "recall": named(scores.recall),
        "boundary_f": named(boundary),
        "reliability": [
            {key: number(value) for key, value in row._asdict().items()} for row in measures.calibration.reliability()
        ],
        "confusion": matrix.tolist(),
    }


def _agreement(matrix: np.ndarray) -> dict[str, float | None]:
    pixels = float(matrix.sum())
    return {
        "pixels": number(float(matrix.trace()) / pixels if pixels else math.nan),
        "miou": number(class_scores(matrix).miou),
    }


def _group(group: Group, what: str, measured: Measured) -> dict[str, Any]:
    def score(counts: ImageCounts) -> float | None:
        return number(group.miou(counts))

    return {
        "group": group.name,
        "low": group.low,
        "high": group.high,
        what: group.count,
        "miou": score(measured.student.counts),
        "teacher_miou": None if measured.teacher is None else score(measured.teacher.counts),
    }
