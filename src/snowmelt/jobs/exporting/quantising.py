"""An int8 export: ranges from the run's training images, and what it costs on its validation images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import onnx
import torch
from torch import Tensor

from snowmelt.build import labelled_only, make_evaluation_batches, make_input
from snowmelt.config import with_values
from snowmelt.data import IGNORE_INDEX, Batch, Source, SubsetSource
from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import ConfusionMatrix
from snowmelt.export import MOST_DROP, RECIPE, Facts, ask_runtime, open_runtime, quantise, write_facts
from snowmelt.jobs.opening import TrainedRun
from snowmelt.jobs.session import Session, open_session
from snowmelt.models import Normalisation
from snowmelt.training import score_images

CALIBRATION_IMAGES = 64


@dataclass(frozen=True)
class Quantised:
    """An int8 model with what it was calibrated and scored on; scores are mIoU on validation images."""

    model: onnx.ModelProto
    facts: Facts
    calibration_images: int
    images: int
    miou_float: float
    miou_int8: float

    @property
    def drop(self) -> float:
        return self.miou_float - self.miou_int8

    @property
    def holds(self) -> bool:
        """False for a NaN, too."""
        return self.drop <= MOST_DROP

    def describe(self) -> str:
        return (
            f"mIoU {self.miou_float:.4f} -> {self.miou_int8:.4f} on {self.images} validation images "
            f"({-100 * self.drop:+.2f} points)"
        )


def open_data_of(trained: TrainedRun, side: int | None = None) -> Session:
    """The run's data, on the CPU in full precision; nothing is stored or looked through.

    Args:
        side: of the square in pixels that pictures are fitted into, if not the one that the run was trained at.

    Raises:
        SnowmeltError: a lone weights file, or data that are no longer there.
    """
    if trained.config is None or trained.root is None:
        raise SnowmeltError(
            f"{trained.weights}: a lone file tells no data to calibrate and score on; give the run folder",
            code="run-needed",
        )
    root = trained.root.resolve()
    values = {
        "name": root.name,
        "output": root.parent,
        "data": {"unlabelled": None, "image_size": side or trained.image_size},
        "training": {"device": "cpu", "precision": "32", "threads": None},
    }
    return open_session(with_values(trained.config, values), check=False)


def quantise_export(model: onnx.ModelProto, facts: Facts, session: Session) -> Quantised:
    """Calibrate, quantise and score a float model. Whether the drop is acceptable is for the caller to say."""
    prepare, config = preparation(facts), session.config
    chosen = calibration_source(labelled_only(session.splits).train, config.seed)

    def images() -> Iterator[Tensor]:
        for batch in make_evaluation_batches(config, chosen, session.engine):
            yield from prepare(batch.images).split(1)

    int8, seen = quantise(model, images())
    before, after = (miou_of(each, prepare, session) for each in (model, int8))
    scored = len(session.splits.val)
    quantisation = {
        "recipe": RECIPE,
        "calibration_images": seen,
        "validation_images": scored,
        "miou_float": _number(before),
        "miou_int8": _number(after),
    }
    facts = replace(facts, quantisation=quantisation)
    write_facts(int8, facts)
    return Quantised(int8, facts, seen, scored, before, after)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def calibration_source(train: Source, seed: int) -> Source:
    """The first images of an order that the run's seed fixes."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed)).tolist()
    return SubsetSource(train, order[:CALIBRATION_IMAGES])


def preparation(facts: Facts) -> Callable[[Tensor], Tensor]:
    """uint8 pictures -> what the exported graph takes."""
    if facts.normalised_inside:
        return lambda images: images.float()
    return make_input(Normalisation(facts.mean, facts.std))


def miou_of(model: onnx.ModelProto | str, prepare: Callable[[Tensor], Tensor], session: Session) -> float:
    """mIoU of an ONNX model on the validation images, from the counts that score a run."""
    runtime = open_runtime(model)

    def answer(batch: Batch) -> Tensor:
        return ask_runtime(runtime, prepare(batch.images))

    source, classes = session.splits.val, len(session.splits.classes)
    batches = make_evaluation_batches(session.config, source, session.engine)
    total = ConfusionMatrix(classes, IGNORE_INDEX)
    total.matrix = torch.from_numpy(score_images(session.engine, batches, len(source), classes, answer).sum(0))
    return total.mean_iou()
