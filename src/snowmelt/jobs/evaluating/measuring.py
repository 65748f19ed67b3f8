"""One pass over a set, in which everything about student and teacher is counted that an evaluation says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snowmelt.data import IGNORE_INDEX, Batch
from snowmelt.evaluation import (
    BINS,
    BoundaryScore,
    Calibration,
    ConfusionMatrix,
    ImageCounts,
    brightness_of,
    confusion_by_image,
    counts_of_matrices,
    predict_classes,
)
from snowmelt.training import Answer, Engine
from snowmelt.training.counting import labels_of

Progress = Callable[[int, int, float], None]


class Measures:
    """All that is counted of one network's answers; on the device until the set is done, so no batch waits for it.

    O(classes^2 + bins) memory, and beside that three counts for each class of each image.
    """

    def __init__(self, engine: Engine, images: int, classes: int, tolerance: float) -> None:
        exact, device = engine.device_name != "mps", engine.device  # MPS has no double precision
        self._engine = engine
        self.confusion = ConfusionMatrix(classes, IGNORE_INDEX, device)
        self.boundaries = BoundaryScore(classes, IGNORE_INDEX, tolerance, device, exact)
        self.calibration = Calibration(BINS, device, exact)
        self._counts = torch.zeros(images, 3, classes, dtype=torch.int32, device=device)

    def add(self, logits: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """Count one batch, and give the classes that were predicted, (B, N, N)."""
        predicted = predict_classes(logits)
        matrices, outside = confusion_by_image(predicted, labels, self.confusion.classes, IGNORE_INDEX)
        self.confusion.matrix += matrices.sum(0)
        self.confusion.outside += outside
        self._counts.index_copy_(0, indices, counts_of_matrices(matrices))
        self.boundaries.add(predicted, labels)
        self.calibration.add(logits, labels, IGNORE_INDEX)
        return predicted

    def finish(self) -> None:
        """Sums over all processes, on the CPU; waits.

        Raises:
            SnowmeltError: a label that is no class.
        """
        reduce = self._engine.sum_over_processes
        for whole in (self.boundaries, self.calibration):
            whole.totals = reduce(whole.totals).cpu()
        self._counts = reduce(self._counts).cpu()
        finish_matrix(self._engine, self.confusion)

    @property
    def matrix(self) -> np.ndarray:
        """(C, C), rows are the truth."""
        return self.confusion.matrix.cpu().numpy()

    @property
    def counts(self) -> ImageCounts:
        """Of each image, in the order of the source."""
        return ImageCounts.of(self._counts.cpu().numpy())


@dataclass(frozen=True)
class Measured:
    """What a set tells.

    Attributes:
        agreement: counts (C, C) of (the teacher's class, the student's) on labelled pixels; ``None`` without a teacher.
        brightness: (I,) mean luma of each image, 0 to 255.
        seconds: the pass, loading included.
    """

    student: Measures
    teacher: Measures | None
    agreement: np.ndarray | None
    brightness: np.ndarray
    seconds: float


def measure(
    engine: Engine,
    batches: Iterable[Batch],
    images: int,
    classes: int,
    *,
    student: Answer,
    teacher: Answer | None,
    tolerance: float,
    progress: Progress,
) -> Measured:
    """Ask both about every image, once.

    Args:
        batches: of the whole set in this process's share, as ``make_evaluation_batches`` gives them.
        images: in the whole set.

    Raises:
        SnowmeltError: a label that is no class.
    """
    start, done = time.monotonic(), 0
    ours = Measures(engine, images, classes, tolerance)
    theirs = None if teacher is None else Measures(engine, images, classes, tolerance)
    between = ConfusionMatrix(classes, IGNORE_INDEX, engine.device)
    brightness = torch.zeros(images, dtype=torch.float32, device=engine.device)
    with torch.no_grad():
        for host_batch in batches:
            batch = host_batch.to(engine.device, non_blocking=True)
            labels = labels_of(batch)
            valid = labels != IGNORE_INDEX
            predicted = ours.add(student(batch), labels, batch.indices)
            if teacher is not None and theirs is not None:
                taught = theirs.add(teacher(batch), labels, batch.indices)
                between.add(predicted, torch.where(valid, taught, IGNORE_INDEX))
            brightness.index_copy_(0, batch.indices, brightness_of(batch.images, valid))
            done += len(batch)
            progress(done * engine.world_size, images, done / max(time.monotonic() - start, 1e-9))
    ours.finish()
    if theirs is not None:
        theirs.finish()
    finish_matrix(engine, between)
    light = engine.sum_over_processes(brightness).cpu().numpy()
    agreement = None if theirs is None else between.matrix.numpy()
    return Measured(ours, theirs, agreement, light, time.monotonic() - start)


def finish_matrix(engine: Engine, confusion: ConfusionMatrix) -> None:
    """Sum over all processes, on the CPU, and look whether every label was a class."""
    confusion.matrix = engine.sum_over_processes(confusion.matrix).cpu()
    confusion.outside = engine.sum_over_processes(confusion.outside).cpu()
    confusion.check()
