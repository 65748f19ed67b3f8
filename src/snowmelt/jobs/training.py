"""``snowmelt train``: teacher first where one is missing, then the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snowmelt.config import ExperimentConfig
from snowmelt.jobs.caching import prepare_teaching
from snowmelt.jobs.locking import held_run
from snowmelt.jobs.records import best_plain
from snowmelt.jobs.restarts import is_restarted
from snowmelt.jobs.running import adopt_choices, check_same_settings, refuse_existing, run_training
from snowmelt.jobs.session import Session, as_asked, open_session
from snowmelt.jobs.teaching import FoundTeacher, find_teacher, refuse_teacher_without_room
from snowmelt.reporting import RunFolder
from snowmelt.training import has_checkpoint


def train_experiment(config: ExperimentConfig, *, resume: bool = False, overwrite: bool = False) -> dict[str, Any]:
    """Train ``config`` into ``output/name`` and return the outcome.

    A run that was begun under this very ``torchrun``, which then started its processes anew, goes on in any case.

    Raises:
        SnowmeltError: whatever the user can mend: settings, data, an existing run, weights that do not fit.
    """
    with as_asked(config):
        return _open_and_train(config, resume, overwrite)


def _open_and_train(config: ExperimentConfig, resume: bool, overwrite: bool) -> dict[str, Any]:
    root = config.output / config.name
    if is_restarted(root):
        resume, overwrite = True, False
    refuse_existing(root, resume, overwrite)
    if resume:
        config = adopt_choices(root, config)
    session = open_session(config)
    with held_run(session.engine, root):
        return _train(session, root, resume, overwrite)


def _train(session: Session, root: Path, resume: bool, overwrite: bool) -> dict[str, Any]:
    if resume:
        check_same_settings(root, session.config)  # before a teacher is trained for a run that cannot go on
    begun = resume and has_checkpoint(RunFolder(root).checkpoints)
    refuse_teacher_without_room(session, keep=begun)
    found = find_teacher(session, keep=begun)
    teaching = None
    if found is not None:
        session, teaching = prepare_teaching(session, found)
    return run_training(
        session,
        session.config,
        resume=resume,
        overwrite=overwrite,
        teaching=teaching,
        notices=() if found is None else (*session.doubts, *found.notices, *compare_with_plain(session, found)),
        advises=True,
    )


def compare_with_plain(session: Session, found: FoundTeacher) -> list[str]:
    """A warning when a student without a teacher, trained here before on the same data, was as good as the teacher."""
    config = session.config
    plain = best_plain(config.output, session.data_digest, config.data.image_size, config.student.encoder)
    if plain is None or found.miou is None or found.miou > plain[1]:
        return []
    remedy = "take a stronger teacher"
    if config.teacher.source == "auto":
        remedy = "train the teacher longer (--set teacher.epochs=N) or take a stronger one"
    return [
        f"the teacher (mIoU {found.miou:.4f}) is not better than the plain student in {plain[0]} ({plain[1]:.4f}): "
        f"distillation can hurt here; {remedy}"
    ]
