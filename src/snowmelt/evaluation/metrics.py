"""Scores from counts: one confusion matrix over a whole set, never an average of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError

Labels = Tensor | np.ndarray | Sequence[Any]


class ConfusionMatrix:
    """Counts of (true class, predicted class) over everything that was shown to it.

    The state is one matrix of counts, as in torchmetrics' ``MulticlassJaccardIndex``, so that IoU is taken once, over
    all pixels. An average of IoUs by batch or by image is another number: a class that is in few
    batches weighs too much in it.

    Args:
        classes: number of classes C, background included; 2 for a network with one logit.
        ignore_index: pixels whose truth has this label count nowhere, 255 for instance. It may be one of the
            classes; that class then has no IoU.
        device: where the counts live; all processes that add theirs up should name the same kind of device.

    Attributes:
        matrix: (C, C) int64, rows are the truth. Sums over batches and processes are plain additions, so it may
            be all-reduced in place.
        outside: () int64, pixels that ``add`` could not count since truth or prediction is no class.
    """

    def __init__(self, classes: int, ignore_index: int | None = None, device: torch.device | str | None = None) -> None:
        if classes < 1:
            raise SnowmeltError(
                f"a confusion matrix of {classes} classes was asked for; it needs at least 1", code="argument-value"
            )
        self.classes = classes
        self.ignore_index = ignore_index
        self.matrix = torch.zeros(classes, classes, dtype=torch.int64, device=device)
        self.outside = torch.zeros((), dtype=torch.int64, device=device)

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Count class indices of any one shape; predictions at ignored pixels may be anything.

        Raises:
            SnowmeltError: shapes that differ, logits in place of labels, or a label that is no class.
        """
        _check_labels(predictions, targets)
        counted = _count(predictions, targets, self.classes, self.ignore_index).to(self.matrix.device)
        if counted[-1]:
            self._refuse(predictions, targets)
        self.matrix += counted[:-1].view_as(self.matrix)

    def add(self, predictions: Tensor, targets: Tensor) -> None:
        """As ``update``, without waiting for the device: what is no class is only counted, in ``outside``.

        Call ``check`` when the set is done.
        """
        _check_labels(predictions, targets)
        counted = _count(predictions, targets, self.classes, self.ignore_index).to(self.matrix.device)
        self.matrix += counted[:-1].view_as(self.matrix)
        self.outside += counted[-1]

    def check(self) -> None:
        """Raises ``SnowmeltError`` if ``add`` met a label that is no class."""
        outside = int(self.outside)
        if outside:
            raise SnowmeltError(
                f"{outside} pixels have a label outside the classes 0..{self.classes - 1}; "
                f"correct the labels, the number of classes or ignore_index (it is {self.ignore_index})",
                code="mask-label",
            )

    def iou(self) -> Tensor:
        """Intersection over union by class, (C,) float64; NaN for a class in neither truth nor prediction."""
        matrix = self.matrix.double()
        hits = matrix.diagonal()
        union = matrix.sum(0) + matrix.sum(1) - hits
        iou = torch.where(union > 0, hits / union.clamp(min=1), torch.nan)
        if self.ignore_index is not None and 0 <= self.ignore_index < self.classes:
            iou[self.ignore_index] = torch.nan
        return iou

    def mean_iou(self) -> float:
        """Mean IoU over the classes that are there; NaN where none is."""
        return float(self.iou().nanmean())

    def accuracy(self) -> float:
        """Share of counted pixels whose class is right; NaN where nothing was counted."""
        return float(self.matrix.diagonal().sum().double() / self.matrix.sum().double())

    def __add__(self, other: ConfusionMatrix) -> ConfusionMatrix:
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        if (self.classes, self.ignore_index) != (other.classes, other.ignore_index):
            raise SnowmeltError(
                f"confusion matrices of {self.classes} classes (ignoring {self.ignore_index}) and of {other.classes} "
                f"(ignoring {other.ignore_index}) cannot be added; score both with the same classes",
                code="array-shape",
            )
        total = ConfusionMatrix(self.classes, self.ignore_index)
        total.matrix = self.matrix + other.matrix.to(self.matrix.device)
        total.outside = self.outside + other.outside.to(self.matrix.device)
        return total

    def _refuse(self, predictions: Tensor, targets: Tensor) -> None:
        """Name a label that is no class: the truth's, where one is wrong, else the prediction's."""
        predictions, targets = predictions.reshape(-1).long(), targets.reshape(-1).long()
        if self.ignore_index is not None:
            valid = targets != self.ignore_index
            predictions, targets = predictions[valid], targets[valid]
        for what, labels in (("target", targets), ("prediction", predictions)):
            low, high = (int(end) for end in torch.aminmax(labels))
            if low < 0 or high >= self.classes:
                raise SnowmeltError(
                    f"{what} label {low if low < 0 else high} is outside the classes 0..{self.classes - 1}; "
                    f"correct the label, the number of classes or ignore_index (it is {self.ignore_index})",
                    code="mask-label",
                )


class Agreement:
    """Share of valid pixels where two predictions name the same class, over everything shown to it.

    Attributes:
        counts: (2,) int64: pixels that agree, pixels that count. May be all-reduced in place.
    """

    def __init__(self, device: torch.device | str | None = None) -> None:
        self.counts = torch.zeros(2, dtype=torch.int64, device=device)

    def update(self, first: Tensor, second: Tensor, valid: Tensor | None = None) -> None:
        """Compare class indices of one shape where ``valid`` (bool, same shape; ``None``: everywhere)."""
        _check_labels(first, second)
        same = first == second
        if valid is None:
            valid = torch.ones_like(same)
        elif valid.shape != same.shape:
            raise SnowmeltError(
                f"valid has shape {tuple(valid.shape)}, the labels have {tuple(same.shape)}", code="array-shape"
            )
        counts = torch.stack([(same & valid).sum(), valid.sum()])
        self.counts += counts.to(self.counts.device)

    def share(self) -> float:
        """Fraction from 0 to 1; NaN where nothing was counted."""
        agreeing, counted = self.counts.tolist()
        return agreeing / counted if counted else float("nan")


def mean_iou(
    predictions: Labels, targets: Labels, classes: int, ignore_index: int | None = None
) -> tuple[float, Tensor]:
    """Mean IoU and IoU by class from one confusion matrix over all pixels given.

    Args:
        predictions: class indices: a tensor or array of any shape, or a sequence of them, which may differ in
            size from each other.
        targets: truth, in the same shapes.
        classes: number of classes C, background included.
        ignore_index: pixels with this label in ``targets`` count nowhere.

    Returns:
        The mean over the classes that are there, and (C,) float64 with NaN for a class that is in neither.

    Raises:
        SnowmeltError: shapes that do not fit, or a label that is no class.
    """
    matrix = ConfusionMatrix(classes, ignore_index)
    shown, truth = _as_list(predictions), _as_list(targets)
    if len(shown) != len(truth):
        raise SnowmeltError(
            f"{len(shown)} predictions were given for {len(truth)} targets; each needs its own", code="array-shape"
        )
    for prediction, target in zip(shown, truth, strict=True):
        matrix.update(prediction, target)
    return matrix.mean_iou(), matrix.iou().cpu()


def predict_classes(logits: Tensor) -> Tensor:
    """Class indices (B, H, W) int64 from logits: (B, 1, H, W) is class 1 where above 0, (B, C, H, W) the argmax."""
    if logits.ndim != 4:
        raise SnowmeltError(
            f"logits have shape {tuple(logits.shape)}; expected (batch, channels, height, width)", code="array-shape"
        )
    if logits.shape[1] == 1:
        return (logits[:, 0] > 0).long()
    return logits.argmax(dim=1)


def _as_list(labels: Labels) -> list[Tensor]:
    if isinstance(labels, Tensor | np.ndarray):
        return [_as_tensor(labels)]
    if len(labels) and not isinstance(labels[0], Tensor | np.ndarray):
        return [_as_tensor(np.asarray(labels))]
    return [_as_tensor(item) for item in labels]


def _as_tensor(labels: Tensor | np.ndarray) -> Tensor:
    if isinstance(labels, Tensor):
        return labels
    # torch knows few unsigned types, and arrays of images may be read-only views.
    return torch.from_numpy(labels.astype(np.int64)) if labels.dtype.kind in "biu" else torch.from_numpy(labels)


def _check_labels(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape:
        raise SnowmeltError(
            f"labels of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be compared; "
            "bring both to one size first",
            code="array-shape",
        )
    for labels in (first, second):
        if labels.is_floating_point() or labels.is_complex():
            raise SnowmeltError(
                f"labels are {labels.dtype}, not class indices; turn logits into classes with predict_classes first",
                code="array-shape",
            )


def _count(predictions: Tensor, targets: Tensor, classes: int, ignore_index: int | None) -> Tensor:
    """(C * C + 1,) int64: pixels of each (true, predicted) pair of classes, and last those that have none.

    One pass of additions on the labels' device. ``bincount`` would do the same and wait for a GPU to learn its length.
    """
    truth, shown = targets.reshape(-1).long(), predictions.reshape(-1).long()
    other = classes * classes
    inside = (truth >= 0) & (truth < classes) & (shown >= 0) & (shown < classes)
    pair = torch.where(inside, truth * classes + shown, other)
    ones = torch.ones_like(pair) if ignore_index is None else (truth != ignore_index).long()
    return torch.zeros(other + 1, dtype=torch.int64, device=pair.device).scatter_add_(0, pair, ones)
