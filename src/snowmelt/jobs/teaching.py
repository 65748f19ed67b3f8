"""Finding the teacher of an experiment, or training it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from snowmelt.build import (
    OpenedTeacher,
    labelled_only,
    make_network,
    make_objective,
    open_teacher,
    output_channels,
    refuse_without_room_for_all,
    teacher_experiment,
)
from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.locking import held, lock_of
from snowmelt.jobs.records import is_finished, read_record, score_of
from snowmelt.jobs.running import run_training
from snowmelt.jobs.session import Session, as_asked, open_session
from snowmelt.jobs.signals import going_on_by_itself
from snowmelt.models import FeatureTap
from snowmelt.reporting import RunFolder, read_metrics
from snowmelt.teachers import find_kind

STILL_RISING = 0.01  # mIoU gained in the last quarter of a training above which it was no plateau


@dataclass(frozen=True)
class FoundTeacher:
    """A teacher ready to teach, its score on the session's validation images where known, and what to say about it."""

    teacher: OpenedTeacher
    miou: float | None
    notices: tuple[str, ...] = ()


def teach_experiment(config: ExperimentConfig) -> Path:
    """Train the teacher of ``config`` where it is not there yet; the path of its weights."""
    if not config.distills:
        raise SnowmeltError(
            f"{config.name} has no teacher to train; distillation.enabled or teacher.source says so",
            code="teacher-none",
        )
    if config.teacher.source != "auto":
        raise SnowmeltError(
            f"teacher.source is {config.teacher.source!r}, so there is nothing to train; use teacher.source=auto",
            code="teacher-none",
        )
    with going_on_by_itself(), as_asked(config):
        return train_teacher(open_session(config))


def find_teacher(session: Session, keep: bool = False) -> FoundTeacher | None:
    """The teacher that the settings name, trained first where it is ``auto`` and missing.

    Args:
        keep: the student has begun under this teacher, so one whose training was cut is taken as it is.

    Raises:
        SnowmeltError: no such teacher, one that does not fit, or a loss that these classes cannot have.
    """
    config = session.config
    if not config.distills:
        return None
    check_losses(session)  # before a teacher is trained
    if not keep:
        check_student(session)  # likewise
    source = teacher_source(session)
    if config.teacher.source == "auto":
        train_teacher(session, keep)
    opened = open_teacher(config, source, session.splits, session.engine, session.say)
    session.say(f"teacher: {opened.describe()}")
    root = run_folder_of(source)
    record = None if root is None else read_record(root)
    if root is None or record is None:
        return FoundTeacher(opened, None)
    comparable = (record.get("data"), record.get("image_size")) == (session.data_digest, config.data.image_size)
    return FoundTeacher(opened, record.get("best_miou") if comparable else None, tuple(notices_of(root, record)))


def teacher_source(session: Session) -> str:
    """The teacher of a session as ``kind:target`` or a path, whether or not one that is ``auto`` is trained yet."""
    config = session.config
    if config.teacher.source != "auto":
        return config.teacher.source
    experiment = teacher_experiment(config, session.splits)
    return f"weights:{RunFolder(experiment.output / experiment.name).checkpoints / 'best.safetensors'}"


def check_losses(session: Session) -> None:
    """Raises ``SnowmeltError`` for a loss that these classes, or a feature layer that this student, cannot have."""
    config, classes = session.config, session.splits.classes
    make_objective(config, classes)
    if config.distillation.matches_features:
        student = make_network(config.student, output_channels(classes), config.seed, with_weights=False)
        FeatureTap(student.network, config.distillation.feature_layers).close()


def check_student(session: Session) -> None:
    """Build the student once and let it go. Raises ``SnowmeltError`` for weights that are not there or do not fit."""
    config = session.config
    if config.student.weights != "none":
        make_network(config.student, output_channels(session.splits.classes), config.seed)


def run_folder_of(source: str) -> Path | None:
    """The folder of the Snowmelt run that ``source`` belongs to, if it belongs to one."""
    kind, target = find_kind(source)
    if kind == "run":
        return Path(target)
    path = Path(target)
    return path.parent.parent if kind == "weights" and path.parent.name == "checkpoints" else None


def train_teacher(session: Session, keep: bool = False) -> Path:
    """Weights of the automatic teacher; trains it, or goes on with a training that was cut.

    While another run trains the same teacher, this one waits for it and then takes what there is.
    """
    experiment = teacher_experiment(session.config, session.splits)
    root = experiment.output / experiment.name
    if _first_has(session, trained_teacher(session, experiment, keep)):
        return RunFolder(root).checkpoints / "best.safetensors"
    what = f"teacher: {root} is being trained by another run"
    with held(session.engine, lock_of(root), what, waits=True, say=session.say):
        if _first_has(session, trained_teacher(session, experiment, keep)):
            return RunFolder(root).checkpoints / "best.safetensors"
        begun = RunFolder(root).is_run
        state = "is not finished, so it is trained further" if begun else "is not there yet, so it is trained first"
        session.say(
            f"teacher: {experiment.student.encoder} {state} on the same data, "
            f"for at most {experiment.training.epochs} epochs, into {root}"
        )
        labelled = replace(session, splits=labelled_only(session.splits))
        run_training(labelled, experiment, resume=begun, patience=session.config.teacher.patience)
    return RunFolder(root).checkpoints / "best.safetensors"


def trained_teacher(session: Session, experiment: ExperimentConfig, keep: bool) -> Path | None:
    """Weights of the automatic teacher where it needs no training; ``keep``: as much of it as there is."""
    root = experiment.output / experiment.name
    best = RunFolder(root).checkpoints / "best.safetensors"
    record = read_record(root)
    if is_finished(record, experiment.training.max_steps) and best.exists():
        session.say(f"teacher: {root} is reused (best mIoU {score_of(record)})")
        return best
    if keep and record is not None and best.exists():
        session.say(f"teacher: {root} stays as it was when the student began (best mIoU {score_of(record)})")
        return best
    return None


def refuse_teacher_without_room(session: Session, keep: bool = False) -> None:
    """Raises ``SnowmeltError`` where a teacher has to be trained and the disk is too small for it and what follows."""
    config = session.config
    if not (session.leads and config.distills and config.teacher.source == "auto"):
        return
    experiment = teacher_experiment(config, session.splits)
    best = RunFolder(experiment.output / experiment.name).checkpoints / "best.safetensors"
    record = read_record(experiment.output / experiment.name)
    there = best.exists() and record is not None and (keep or is_finished(record, experiment.training.max_steps))
    if not there:
        refuse_without_room_for_all(config, experiment, session.splits)


def _first_has(session: Session, found: Path | None) -> bool:
    """The answer of the first process for all: another run may finish the teacher while they look."""
    mine = torch.tensor(int(session.leads and found is not None), device=session.engine.device)
    return bool(int(session.engine.sum_over_processes(mine)))


def notices_of(root: Path, record: dict[str, Any] | None) -> list[str]:
    """Doubts about a teacher that ``snowmelt`` has trained: was its training long enough?"""
    if record is None:
        return []
    if record.get("reason") == "max_steps":
        return [f"the teacher's own training was cut by max_steps (mIoU {score_of(record)}); it may teach little"]
    gain = late_gain(RunFolder(root))
    if record.get("reason") == "complete" and gain is not None and gain > STILL_RISING:
        return [
            f"the teacher was still improving when its training ended (+{gain:.3f} mIoU in the last quarter); "
            "a longer one may teach better (--set teacher.epochs=N for a teacher that is trained by itself)"
        ]
    return []


def late_gain(folder: RunFolder) -> float | None:
    """How much the best score rose in the last quarter of a run's epochs; ``None`` when it has fewer than four."""
    scores = [row["miou"] for row in read_metrics(folder.metrics_file)] if folder.metrics_file.exists() else []
    values = [score for score in scores if isinstance(score, float)]
    if len(values) < 4:
        return None
    cut = len(values) - len(values) // 4
    return max(values) - max(values[:cut])
