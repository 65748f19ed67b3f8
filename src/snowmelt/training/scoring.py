"""Scoring: loss by term, mIoU and agreement over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.data import IGNORE_INDEX, Batch
from snowmelt.evaluation import ConfusionMatrix, predict_classes
from snowmelt.losses import Objective
from snowmelt.training.counting import Counts, count, labels_of
from snowmelt.training.engine import Engine
from snowmelt.training.features import FeatureMatching

MEMORY_LIMIT = 1 << 30  # bytes of teacher answers kept between two scorings


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
    """The teacher's answers on a set that is scored again and again, in the order of its batches.

    An answer is the logits, and the feature maps that are matched. The teacher does not change, so its forward pass
    is paid once; past the limit it is paid every time.
    """

    answers: list[tuple[Tensor, ...]] = field(default_factory=list)
    size: int = 0
    miou: float | None = None  # the teacher's own score, once it is known

    def recall(self, position: int, compute: Callable[[], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The answer about batch ``position``, computed when it is not there yet."""
        if position < len(self.answers):
            return self.answers[position]
        answer = tuple(part.float() for part in compute())
        self.size += sum(part.numel() * 4 for part in answer)
        if position == len(self.answers) and self.size <= MEMORY_LIMIT:
            self.answers.append(tuple(part.cpu() for part in answer))
        return answer


@dataclass(frozen=True)
class Scorer:
    """Scores a network on one set, the same way at every call.

    Args:
        normalise: uint8 images -> the network's input.
        teacher: batch -> logits; its score and the agreement with it are part of the result.
        features: where feature matching is part of the objective; the teacher is then the network that it reads.
    """

    engine: Engine
    batches: Iterable[Batch]
    classes: tuple[str, ...]
    normalise: Callable[[Tensor], Tensor]
    objective: Objective
    teacher: Callable[[Batch], Tensor] | None = None
    features: FeatureMatching | None = None
    memory: TeacherMemory = field(default_factory=TeacherMemory)

    def score(
        self, network: nn.Module, temperature: float | None = None, weights: Mapping[str, float] | None = None
    ) -> Score:
        """Score ``network`` in eval mode; its former mode is restored.

        ``weights`` replace weights of the objective. Unlabelled pixels count in distillation terms alone.
        """
        self.engine.share_buffers(network)
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad():
                return self._score(network, 1.0 if temperature is None else temperature, weights)
        finally:
            network.train(was_training)

    def _score(self, network: nn.Module, temperature: float, weights: Mapping[str, float] | None) -> Score:
        student = ConfusionMatrix(len(self.classes), IGNORE_INDEX)
        teacher = ConfusionMatrix(len(self.classes), IGNORE_INDEX)
        sums = dict.fromkeys(self.objective.term_names(self.teacher is not None), 0.0)
        counts = dict.fromkeys((*Counts._fields, "agreed"), 0)
        for position, host_batch in enumerate(self.batches):
            batch = host_batch.to(self.engine.device)
            with self._autocast():
                logits = network(self.normalise(batch.images)).float()
                projected = () if self.features is None else self.features.project()
            answer = self._teach(position, batch)
            teacher_logits, features = (answer[0], answer[1:]) if answer else (None, ())
            terms = self.objective(
                logits,
                teacher_logits,
                batch.masks.long(),
                temperature,
                weights=weights,
                features=list(zip(projected, features, strict=True)),
                **dict.fromkeys(Counts._fields, 1),
            )
            for name, value in terms.items():
                sums[name] += value.item()
            for name, number in count(batch)._asdict().items():
                counts[name] += int(number)
            labels, predicted = labels_of(batch), predict_classes(logits)
            student.update(predicted.cpu(), labels.cpu())
            if teacher_logits is not None:
                taught = predict_classes(teacher_logits)
                teacher.update(taught.cpu(), labels.cpu())
                counts["agreed"] += int(((predicted == taught) & (labels != IGNORE_INDEX)).sum())
        self._reduce(student, teacher, sums, counts)
        return self._result(student, teacher, sums, counts, weights)

    def _autocast(self) -> AbstractContextManager[Any]:
        return self.engine.autocast()

    def _teach(self, position: int, batch: Batch) -> tuple[Tensor, ...]:
        """The teacher's logits and features about ``batch``, or nothing without a teacher."""
        if self.teacher is None:
            return ()
        teacher, features = self.teacher, self.features

        def ask() -> tuple[Tensor, ...]:
            logits = teacher(batch)
            return (logits,) if features is None else (logits, *features.read_teacher())

        return tuple(part.to(self.engine.device) for part in self.memory.recall(position, ask))

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
        self,
        student: ConfusionMatrix,
        teacher: ConfusionMatrix,
        sums: dict[str, float],
        counts: dict[str, int],
        weights: Mapping[str, float] | None,
    ) -> Score:
        agreed = counts.pop("agreed")
        terms = self.objective.average(sums, **counts, weights=weights)
        miou, iou = student.mean_iou(), self._by_class(student)
        if self.teacher is None:
            return Score(miou, iou, terms)
        self.memory.miou = teacher.mean_iou()
        agreement = agreed / max(counts["pixels"], 1)
        return Score(miou, iou, terms, teacher.mean_iou(), self._by_class(teacher), agreement)

    def _by_class(self, confusion: ConfusionMatrix) -> dict[str, float]:
        return dict(zip(self.classes, confusion.iou().tolist(), strict=True))
