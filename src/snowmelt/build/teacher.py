"""Who teaches: a trained network, or the experiment that trains one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from snowmelt.build.identity import data_digest, digest_of, identity_of
from snowmelt.build.networks import load_network
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.data import Splits
from snowmelt.teachers import NetworkTeacher
from snowmelt.training import Engine


def make_teacher(config: ExperimentConfig, path: Path, classes: tuple[str, ...], engine: Engine) -> NetworkTeacher:
    """The teacher in ``path``, on the engine's device."""
    built = load_network(path, config.teacher.network, classes)
    network = built.network.to(engine.device)
    name = f"{built.description['architecture']} with {built.description['encoder']} ({path})"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return NetworkTeacher(network, built.normalisation, engine.autocast, name, digest)


def teacher_experiment(config: ExperimentConfig, splits: Splits) -> ExperimentConfig:
    """The experiment that trains the teacher: the same data and loop, the whole network, no teacher of its own.

    Its rate follows a cosine to its end, which is what brings a network to its plateau.
    """
    values = {
        "student": config.teacher.network.model_dump(exclude_unset=True),
        "distillation": {"enabled": False},
        "thaw": {"progressive": False, "lr_scale": config.teacher.lr_scale or 0.1},
        "optimizer": {"schedule": "cosine"},
        "training": {"epochs": config.teacher.epochs or config.training.epochs},
        "description": f"teacher of {config.name}",
        "output": config.output / "teachers",
        "schedule_by_size": False,
    }
    # Sections are replaced, not merged: what the student was told about its thaw does not bind its teacher.
    kept = {
        key: value
        for key, value in config.model_dump(exclude_unset=True).items()
        if key not in ("student", "teacher", "distillation", "temperature", "thaw")
    }
    teacher = with_values(ExperimentConfig(**kept), values)
    also = {"weights": teacher.student.weights, "patience": config.teacher.patience, "data": data_digest(splits)}
    digest = digest_of({**identity_of(teacher), **also})
    return with_values(teacher, {"name": f"{config.teacher.network.encoder}-{digest}"})
