"""A few validation images with truth, teacher, student and errors side by side."""

from __future__ import annotations

import numpy as np
import torch

from snowmelt.build import make_input
from snowmelt.config import ExperimentConfig
from snowmelt.data import Batch, EvaluationDataset, Source, build_evaluation_transform, collate, fitted_size
from snowmelt.evaluation import predict_classes
from snowmelt.jobs.session import Session
from snowmelt.models import load_weights, normalisation_of
from snowmelt.reporting import Prediction, RunFolder, make_panels, save_layers, save_panels
from snowmelt.training import TrainingRun

PICTURES = 6


def draw_predictions(
    session: Session, config: ExperimentConfig, folder: RunFolder, run: TrainingRun
) -> dict[str, np.ndarray]:
    """Write panels of the best weights and their layers into ``predictions/``, and return the panels by name."""
    source = session.splits.val
    chosen = sorted({int(index) for index in np.linspace(0, len(source) - 1, num=min(PICTURES, len(source)))})
    dataset = EvaluationDataset(source, build_evaluation_transform(config.data.image_size or 256))
    batch = collate([dataset[index] for index in chosen])
    student = _predict_best(session, config, run, batch)
    teacher, ask = None, run.validation_teacher
    if ask is not None:
        teacher = predict_classes(ask(batch.to(session.engine.device))).cpu().numpy()
    predictions = [show(source, index, batch, row, student, teacher) for row, index in enumerate(chosen)]
    panels = make_panels(predictions, run.classes)
    save_panels(folder, panels)
    save_layers(folder, predictions, run.classes)
    return panels


def show(
    source: Source, index: int, batch: Batch, row: int, student: np.ndarray, teacher: np.ndarray | None
) -> Prediction:
    """Image ``index``, which is ``row`` of the batch on the CPU and of the predicted classes (B, N, N).

    Without its padding: what the networks make of that is of no use to anybody.
    """
    full_height, full_width = source.load(index).image.shape[:2]
    height, width = fitted_size(full_height, full_width, batch.images.shape[-1])
    inside = (slice(height), slice(width))
    return Prediction(
        name=source.name(index),
        image=batch.images[row].permute(1, 2, 0).numpy()[inside],
        truth=batch.masks[row].numpy()[inside],
        student=student[row][inside],
        teacher=None if teacher is None else teacher[row][inside],
    )


def _predict_best(session: Session, config: ExperimentConfig, run: TrainingRun, batch: Batch) -> np.ndarray:
    state, _ = load_weights(run.checkpoints.best)
    run.network.load_state_dict(state)
    run.network.eval()
    prepare = make_input(normalisation_of(config.student.encoder))
    with torch.no_grad(), session.engine.autocast():
        logits = run.network(prepare(batch.images.to(session.engine.device)))
    return predict_classes(logits.float()).cpu().numpy()
