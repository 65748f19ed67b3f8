"""Choices that are left open in settings, made once the data are known."""

from __future__ import annotations

from typing import Any

from snowmelt.build.data import FILES_SIZE, SCENES_SIZE, is_scenes
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.config.teaching import distillation_weights
from snowmelt.models import choose_weights

SMALL = 1000  # images; below, the published advice speaks of a small set
# What `auto` takes: measured, see docs/recipe.md.
MEASURED_SCALE = 0.3  # of the encoder's rate
EPOCHS_OF_SMALL = 100
ALPHA_OF_UNLABELLED = 0.9
# Two classes have no relation to each other, and a correlation alone says nothing of where one of them begins to win:
# there the KL stays.
RELATIONS = {"kl_weight": 0.0, "dist_inter_weight": 1.0, "dist_intra_weight": 1.0}
RELATIONS_OF_TWO = {"dist_intra_weight": 1.0}


def settle(config: ExperimentConfig, images: int, classes: int) -> tuple[ExperimentConfig, list[str]]:
    """The settings with every open choice made, and a line for each choice that a person should know.

    Args:
        images: number of training images that have a mask.
        classes: number of classes, background included.
    """
    values: dict[str, Any] = {}
    notes: list[str] = []
    if config.data.image_size is None:
        values["data"] = {"image_size": SCENES_SIZE if is_scenes(config) else FILES_SIZE}
    epochs = config.training.epochs
    if config.schedule_by_size:
        chosen, note = settle_schedule(config, images, classes)
        values |= chosen
        epochs = chosen["training"]["epochs"]
        notes.append(note)
    if config.teacher.epochs is None:
        values["teacher"] = {"epochs": epochs}
    return with_values(config, values), notes


def settle_weights(config: ExperimentConfig) -> tuple[ExperimentConfig, list[str]]:
    """The settings with every ``auto`` weight decided, and a warning for each encoder that has to start random.

    Decided before anything is named or saved, so that a run and its teacher say what they really started from.
    """
    values: dict[str, Any] = {}
    warnings: list[str] = []
    if config.student.weights == "auto":
        source, why = choose_weights(config.student.encoder)
        values["student"] = {"weights": source}
        warnings += [f"student: {why}"] if why else []
    if not config.distills or config.teacher.source != "auto":
        return with_values(config, values), warnings
    teacher = config.teacher.network
    source = teacher.weights
    if source == "auto":
        source, why = choose_weights(teacher.encoder)
        warnings += [f"teacher: {why}"] if why else []
    scale = config.teacher.lr_scale or (1.0 if source == "none" else 0.1)
    values["teacher"] = {"network": {"weights": source}, "lr_scale": scale}
    return with_values(config, values), warnings


def settle_schedule(config: ExperimentConfig, images: int, classes: int) -> tuple[dict[str, Any], str]:
    """What ``auto`` chooses by what was measured (docs/recipe.md), and the line that says so; what is given wins.

    The whole encoder learns from epoch 0, unless a thaw is asked for: then it comes when the published advice has it
    for so many images, at the measured rate. Images without masks are learned from where distillation has most of the
    weight and asks for the teacher's relations (DIST).
    """
    given = config.thaw.model_dump(exclude_unset=True)
    progressive = bool(given.get("progressive", {"start", "every", "most"} & given.keys()))
    _, published = thaw_for_size(images)
    thaw = {**published, "progressive": progressive, "lr_scale": MEASURED_SCALE, **given}
    epochs = config.training.epochs
    if images < SMALL and "epochs" not in config.training.model_fields_set:
        epochs = EPOCHS_OF_SMALL
    values: dict[str, Any] = {"thaw": thaw, "training": {"epochs": epochs}}
    pace = f"first block thaws at epoch {thaw['start']}, one more every {thaw['every']}"
    note = (
        f"auto: {images} training images: {epochs} epochs, "
        f"{pace if progressive else 'whole encoder learns from epoch 0'}, encoder rate x {thaw['lr_scale']}"
    )
    if config.data.unlabelled is not None and (chosen := _teaching_without_masks(config, classes)):
        values["distillation"] = chosen
        listed = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
        note += f"; for the images without masks {listed}"
    return values, note


def _teaching_without_masks(config: ExperimentConfig, classes: int) -> dict[str, float]:
    """Share and terms of distillation where some images have nothing else to learn from; nothing that is given.

    Terms come as a set: whoever gives one of them, a schedule or a form of the KL has chosen.
    """
    given = config.distillation.model_fields_set
    chosen = {} if "alpha" in {*given, *config.distillation.weight_schedules} else {"alpha": ALPHA_OF_UNLABELLED}
    if not {*distillation_weights(), "weight_schedules", "logit_standardisation"} & given:
        chosen |= RELATIONS if classes > 2 else RELATIONS_OF_TWO
    return chosen


def thaw_for_size(images: int) -> tuple[str, dict[str, Any]]:
    """The published advice: small sets thaw later and slower with a smaller encoder rate, large ones early."""
    if images < SMALL:
        return "small_data", {"start": 20, "every": 10, "lr_scale": 0.01}
    if images <= 10000:
        return "medium_data", {"start": 10, "every": 5, "lr_scale": 0.1}
    return "large_data", {"start": 5, "every": 3, "lr_scale": 0.3}
