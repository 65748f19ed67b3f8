"""Confusion matrices of a whole set, one for each image: of a student, of a teacher, of whoever answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from snowmelt.data import IGNORE_INDEX, Batch
from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import confusion_by_image, predict_classes
from snowmelt.training.counting import labels_of
from snowmelt.training.engine import Engine

Answer = Callable[[Batch], Tensor]
"""A batch on the device -> logits (B, K, N, N) about it; a teacher as it is, a network by ``answer_of``."""


def answer_of(network: nn.Module, normalise: Callable[[Tensor], Tensor], engine: Engine) -> Answer:
    """A network as somebody who answers: in eval mode from now on, on the engine's device and in its precision."""
    network.to(engine.device).eval()

    def answer(batch: Batch) -> Tensor:
        with engine.autocast():
            logits: Tensor = network(normalise(batch.images))
        return logits.float()

    return answer


def score_images(engine: Engine, batches: Iterable[Batch], images: int, classes: int, answer: Answer) -> np.ndarray:
    """The confusion matrix of each image, in the order of the source; summed up, the one of ``Scorer``.

    No batch waits for the device. Every process scores its own batches, and all of them get the whole.

    Args:
        batches: of the whole set in this process's share, as ``make_evaluation_batches`` gives them.
        images: in the whole set, I.
        classes: C, background included.

    Returns:
        (I, C, C) int64, rows are the truth.

    Raises:
        SnowmeltError: a label that is no class.
    """
    counts = torch.zeros(images, classes, classes, dtype=torch.int64, device=engine.device)
    outside = torch.zeros((), dtype=torch.int64, device=engine.device)
    with torch.no_grad():
        for host_batch in batches:
            batch = host_batch.to(engine.device, non_blocking=True)
            predicted = predict_classes(answer(batch))
            found, beyond = confusion_by_image(predicted, labels_of(batch), classes, IGNORE_INDEX)
            counts.index_copy_(0, batch.indices, found)
            outside += beyond
    total = int(engine.sum_over_processes(outside))
    if total:
        raise SnowmeltError(
            f"{total} pixels have a label outside the classes 0..{classes - 1}; correct the labels or the classes",
            code="mask-label",
        )
    return engine.sum_over_processes(counts).cpu().numpy()
