"""Scoring: loss by term, mIoU and agreement over a whole set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from snowmelt.training.events import PixelCounts
from snowmelt.training.features import FeatureMatching

MEMORY_LIMIT = 1 << 30  # bytes of teacher answers kept between two scorings


@dataclass(frozen=True)
class Score:
    """Scores are fractions; ``iou`` is NaN for a class that is in neither truth nor prediction.

    ``confusion`` counts pixels, rows are the truth.
    """

    miou: float
    iou: dict[str, float]
    terms: dict[str, float]
    teacher_miou: float | None = None
    teacher_iou: dict[str, float] | None = None
    agreement: float | None = None
    confusion: PixelCounts | None = None
    teacher_confusion: PixelCounts | None = None
    all_broken: bool = False  # the network's answers hold NaN or infinity, on every image


class ScoreCut(Exception):
    """Scoring was broken off, in all processes: there is no score."""


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


class Sums:
    """Everything of a set that adds up, on the device until the set is done: no batch waits for it.

    Args:
        classes: number of classes, background included.
        names: of the objective's terms, also those that no batch of this process has.
    """

    def __init__(self, engine: Engine, classes: int, names: Sequence[str]) -> None:
        self._engine = engine
        self._names = list(names)
        # As exact as sums of Python's floats; MPS has no double precision, and there single precision must do.
        precise = torch.float32 if engine.device_name == "mps" else torch.float64
        self._terms = torch.zeros(len(self._names), dtype=precise, device=engine.device)
        self._counts = torch.zeros(len(Counts._fields) + 3, dtype=torch.int64, device=engine.device)
        self.cut = False  # not every batch of this process was added
        self.student = ConfusionMatrix(classes, IGNORE_INDEX, engine.device)
        self.teacher = ConfusionMatrix(classes, IGNORE_INDEX, engine.device)

    def add(self, terms: Mapping[str, Tensor], batch: Batch, logits: Tensor, teacher_logits: Tensor | None) -> None:
        """Add one batch: its terms with divisors of 1, its counts, and what was predicted."""
        self._terms += torch.stack([terms[name] for name in self._names]).to(self._terms.dtype)
        labels, predicted = labels_of(batch), predict_classes(logits)
        self.student.add(predicted, labels)
        agreed = self._counts.new_zeros(())
        if teacher_logits is not None:
            taught = predict_classes(teacher_logits)
            self.teacher.add(taught, labels)
            agreed = ((predicted == taught) & (labels != IGNORE_INDEX)).sum()
        sound = torch.isfinite(logits).flatten(1).all(dim=1)
        self._counts += torch.stack([*count(batch), agreed, (~sound).sum(), torch.ones_like(sound).sum()])

    def read(self) -> tuple[dict[str, float], dict[str, int]]:
        """Terms and counts of all processes; waits.

        Of the counts "agreed" is pixels on which student and teacher agree, "broken" images about which the student
        says nothing finite, "seen" images.

        Raises:
            ScoreCut: in all processes, when some process has not added all of its batches.
        """
        reduce = self._engine.sum_over_processes
        for confusion in (self.student, self.teacher):
            confusion.matrix, confusion.outside = reduce(confusion.matrix).cpu(), reduce(confusion.outside).cpu()
            confusion.check()
        terms = reduce(self._terms).tolist()
        *counts, cut = reduce(torch.cat([self._counts, self._counts.new_tensor([self.cut])])).tolist()
        if cut:
            raise ScoreCut
        names = (*Counts._fields, "agreed", "broken", "seen")
        return dict(zip(self._names, terms, strict=True)), dict(zip(names, counts, strict=True))


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
        self,
        network: nn.Module,
        temperature: float | None = None,
        weights: Mapping[str, float] | None = None,
        cut: Callable[[], bool] | None = None,
    ) -> Score:
        """Score ``network`` in eval mode; its former mode is restored.

        ``weights`` replace weights of the objective. Unlabelled pixels count in distillation terms alone.

        Args:
            cut: asked after each batch whether to break off. Processes may differ: one is enough for all.

        Raises:
            ScoreCut: in all processes, when it was broken off.
        """
        self.engine.share_buffers(network)
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad():
                return self._score(network, 1.0 if temperature is None else temperature, weights, cut)
        finally:
            network.train(was_training)

    def _score(
        self,
        network: nn.Module,
        temperature: float,
        weights: Mapping[str, float] | None,
        cut: Callable[[], bool] | None,
    ) -> Score:
        sums = Sums(self.engine, len(self.classes), self.objective.term_names(self.teacher is not None))
        for position, host_batch in enumerate(self.batches):
            batch = host_batch.to(self.engine.device, non_blocking=True)
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
            sums.add(terms, batch, logits, teacher_logits)
            if cut is not None and cut():
                sums.cut = True  # the other processes learn of it where they add up
                break
        return self._result(sums, weights)

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

    def _result(self, sums: Sums, weights: Mapping[str, float] | None) -> Score:
        terms, counts = sums.read()
        agreed, broken, seen = (counts.pop(name) for name in ("agreed", "broken", "seen"))
        all_broken = broken == seen > 0
        means = self.objective.average(terms, **counts, weights=weights)
        miou, iou = sums.student.mean_iou(), self._by_class(sums.student)
        confusion = _rows(sums.student)
        if self.teacher is None:
            return Score(miou, iou, means, confusion=confusion, all_broken=all_broken)
        self.memory.miou = sums.teacher.mean_iou()
        agreement = agreed / max(counts["pixels"], 1)
        return Score(
            miou,
            iou,
            means,
            self.memory.miou,
            self._by_class(sums.teacher),
            agreement,
            confusion,
            _rows(sums.teacher),
            all_broken,
        )

    def _by_class(self, confusion: ConfusionMatrix) -> dict[str, float]:
        return dict(zip(self.classes, confusion.iou().tolist(), strict=True))


def _rows(confusion: ConfusionMatrix) -> PixelCounts:
    return tuple(map(tuple, confusion.matrix.tolist()))
