"""Scoring: loss by term, mIoU and agreement over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.data import IGNORE_INDEX, Batch
from snowmelt.evaluation import ConfusionMatrix, predict_classes
from snowmelt.losses import Objective
from snowmelt.training.engine import Engine

MEMORY_LIMIT = 1 << 30  # bytes of teacher logits kept between two scorings


@dataclass(frozen=True)
class Score:
    """Scores are fractions; ``iou`` is NaN for a class that is in neither truth nor prediction."""

    miou: float
    iou: dict[str, float]
    terms: dict[str, float]
    teacher_miou: float | None = None
    teacher_iou: dict[str, float] | None = None
    agreement: float | None = None


@dataclass
class TeacherMemory:
    """The teacher's logits on a set that is scored again and again, in the order of its batches.

    The teacher does not change, so its forward pass is paid once; past the limit it is paid every time.
    """

    logits: list[Tensor] = field(default_factory=list)
    size: int = 0
    miou: float | None = None  # the teacher's own score, once it is known

    def recall(self, position: int, compute: Callable[[], Tensor]) -> Tensor:
        """Logits of batch ``position``, computed when they are not there yet."""
        if position < len(self.logits):
            return self.logits[position]
        logits = compute().float()
        self.size += logits.numel() * 4
        if position == len(self.logits) and self.size <= MEMORY_LIMIT:
            self.logits.append(logits.cpu())
        return logits


@dataclass(frozen=True)
class Scorer:
    """Scores a network on one set, the same way at every call.

    Args:
        normalise: uint8 images -> the network's input.
        teacher: images -> logits; its score and the agreement with it are part of the result.
    """

    engine: Engine
    batches: Iterable[Batch]
    classes: tuple[str, ...]
    normalise: Callable[[Tensor], Tensor]
    objective: Objective
    teacher: Callable[[Tensor], Tensor] | None = None
    memory: TeacherMemory = field(default_factory=TeacherMemory)

    def score(self, network: nn.Module, temperature: float | None = None) -> Score:
        """Score ``network`` in eval mode; its former mode is restored."""
        self.engine.share_buffers(network)
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad():
                return self._score(network, 1.0 if temperature is None else temperature)
        finally:
            network.train(was_training)

    def _score(self, network: nn.Module, temperature: float) -> Score:
        device = self.engine.device
        student = ConfusionMatrix(len(self.classes), IGNORE_INDEX)
        teacher = ConfusionMatrix(len(self.classes), IGNORE_INDEX)
        sums = dict.fromkeys(self.objective.term_names(self.teacher is not None), 0.0)
        counts = {"pixels": 0, "images": 0, "agreed": 0}
        for position, host_batch in enumerate(self.batches):
            batch = host_batch.to(device)
            masks = batch.masks.long()
            with self._autocast():
                logits = network(self.normalise(batch.images)).float()
            teacher_logits = self._teach(position, batch)
            terms = self.objective(logits, teacher_logits, masks, temperature, pixels=1, images=1)
            for name, value in terms.items():
                sums[name] += value.item()
            valid = masks != IGNORE_INDEX
            predicted = predict_classes(logits)
            student.update(predicted.cpu(), batch.masks.cpu())
            counts["pixels"] += int(valid.sum())
            counts["images"] += len(batch)
            if teacher_logits is not None:
                taught = predict_classes(teacher_logits)
                teacher.update(taught.cpu(), batch.masks.cpu())
                counts["agreed"] += int(((predicted == taught) & valid).sum())
        self._reduce(student, teacher, sums, counts)
        return self._result(student, teacher, sums, counts)

    def _autocast(self) -> AbstractContextManager[Any]:
        return self.engine.autocast()

    def _teach(self, position: int, batch: Batch) -> Tensor | None:
        if self.teacher is None:
            return None
        teacher = self.teacher
        return self.memory.recall(position, lambda: teacher(batch.images)).to(self.engine.device)

    def _reduce(
        self, student: ConfusionMatrix, teacher: ConfusionMatrix, sums: dict[str, float], counts: dict[str, int]
    ) -> None:
        """Add up the shares of all processes, in place."""
        if self.engine.world_size == 1:
            return
        for confusion in (student, teacher):
            confusion.matrix = self.engine.sum_over_processes(confusion.matrix.to(self.engine.device)).cpu()
        for values in (sums, counts):
            packed = torch.tensor(list(values.values()), dtype=torch.float64, device=self.engine.device)
            reduced = self.engine.sum_over_processes(packed).tolist()
            kind = float if values is sums else int
            values.update(zip(values, map(kind, reduced), strict=True))  # type: ignore[arg-type]

    def _result(
        self, student: ConfusionMatrix, teacher: ConfusionMatrix, sums: dict[str, float], counts: dict[str, int]
    ) -> Score:
        terms = self.objective.average(sums, max(counts["pixels"], 1), max(counts["images"], 1))
        miou, iou = student.mean_iou(), self._by_class(student)
        if self.teacher is None:
            return Score(miou, iou, terms)
        agreement = counts["agreed"] / max(counts["pixels"], 1)
        self.memory.miou = teacher.mean_iou()
        return Score(miou, iou, terms, teacher.mean_iou(), self._by_class(teacher), agreement)

    def _by_class(self, confusion: ConfusionMatrix) -> dict[str, float]:
        return dict(zip(self.classes, confusion.iou().tolist(), strict=True))
