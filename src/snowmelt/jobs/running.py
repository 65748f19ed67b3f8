"""One training run from settled settings to a finished run folder; students and teachers alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from snowmelt.build import BuiltTeaching, identity_of, make_run, parameter_counts, refuse_without_room
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.disk import WriteError, named
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.advising import give_advice
from snowmelt.jobs.locking import refuse_held
from snowmelt.jobs.page import write_report
from snowmelt.jobs.pictures import draw_predictions
from snowmelt.jobs.records import is_finished, read_record, score_of, write_record
from snowmelt.jobs.restarts import launcher
from snowmelt.jobs.session import Session
from snowmelt.jobs.signals import handed_to
from snowmelt.reporting import (
    MetricTables,
    NotFiniteReport,
    ProgressDisplay,
    RunFolder,
    RunSummary,
    TensorBoardLog,
    TextLog,
    ValidationScores,
    draw_plots,
)
from snowmelt.schedules import make_plan
from snowmelt.training import Announcer, Listener, StopRequest, TrainingRun, TrainState, fit, has_checkpoint

FILES: tuple[Callable[[RunFolder], Listener], ...] = (MetricTables, ValidationScores, NotFiniteReport, TextLog)
"""Listeners that keep files of the run folder, in the order in which they hear of what happens."""


def refuse_existing(root: Path, resume: bool, overwrite: bool) -> None:
    """Say at once, before data is read or a teacher trained, that a run is there already or the flags disagree.

    That another process is writing it at this moment is the first thing to know.
    """
    refuse_held(root)
    if (resume and overwrite) or (RunFolder(root).is_run and not (resume or overwrite)):
        RunFolder.create(root, resume, overwrite)  # raises, with the ways out


def run_training(
    session: Session,
    config: ExperimentConfig,
    *,
    resume: bool,
    overwrite: bool = False,
    teaching: BuiltTeaching | None = None,
    patience: int | None = None,
    notices: tuple[str, ...] = (),
    advises: bool = False,
) -> dict[str, Any]:
    """Train, and leave a run folder with everything in it. A finished run that is resumed is left alone.

    The caller holds the folder (``held_run``).

    ``advises``: say at the end what the curves suggest, and keep it in the outcome.

    Returns:
        The outcome, as ``summary.json`` holds it.

    Raises:
        Stopped: a signal came (see ``jobs/signals.py``); the run is saved and goes on when it is resumed.
    """
    root = config.output / config.name
    if resume:
        check_same_settings(root, config)  # a teacher's run is resumed by itself, without the check before
        record = read_record(root)
        if record is not None and is_finished(record, config.training.max_steps):
            session.say(f"{root}: this run is finished (best mIoU {score_of(record)}); nothing left to do")
            return record
    if session.leads:
        drop_leftovers(RunFolder.create(root, resume=resume, overwrite=overwrite))
    session.engine.barrier()
    folder = RunFolder(root)
    summary = RunSummary(folder)
    tensorboard = TensorBoardLog(folder)
    files: list[Listener] = [each(folder) for each in FILES]
    listeners = [*files, tensorboard, ProgressDisplay(folder), summary]
    announcer = Announcer(listeners if session.leads else [], goes_on=config.training.on_write_failure == "go_on")
    run = make_run(
        config,
        session.splits,
        session.engine,
        folder.checkpoints,
        teaching=teaching,
        announcer=announcer,
        patience=patience,
        resumes=resume and has_checkpoint(folder.checkpoints),
        notices=(*session.warnings, *notices),
    )
    if session.leads:
        describe_run(folder, config, run)
    try:
        run.stop = StopRequest()
        with handed_to(run.stop.ask):
            state = fit(run)
        refuse_unsaved(run)
        record = make_record(session, config, run, state, summary)
        if session.leads:
            if advises:
                record["advice"] = give_advice(session, config, folder, run, summary.reason)
            finish(session, config, folder, run, record, tensorboard)
    finally:
        announcer.close()
        if run.features is not None:
            run.features.close()
    session.engine.barrier()
    session.say(f"Everything about this run lies in {root}")
    return record


def drop_leftovers(folder: RunFolder) -> None:
    """Weights that a killed process had not finished writing; whoever holds the folder is the only one to write."""
    for left in folder.checkpoints.glob(".*.tmp"):
        left.unlink(missing_ok=True)


def describe_run(folder: RunFolder, config: ExperimentConfig, run: TrainingRun) -> None:
    """What will happen, before it does: the settings and the plan.

    Raises:
        SnowmeltError: the disk has no room for the run.
    """
    refuse_without_room(config, run.network)
    folder.write_config(config.model_dump(mode="json"), launcher=launcher())
    folder.write_plan(make_plan(run.schedules, parameter_counts(run.thaw)))


def make_record(
    session: Session, config: ExperimentConfig, run: TrainingRun, state: TrainState, summary: RunSummary
) -> dict[str, Any]:
    """What later jobs want to know of this run."""
    return {
        "name": config.name,
        "reason": summary.reason,
        "step": state.step,
        "best_epoch": state.best_epoch,
        "best_miou": state.best_miou,
        "distills": run.teacher is not None,
        "teacher": None if run.teacher is None else config.teacher.source,
        "teacher_mode": None if run.teacher is None else config.teacher.mode,
        "architecture": config.student.architecture,
        "encoder": config.student.encoder,
        "image_size": config.data.image_size,
        "data": session.data_digest,
        "classes": list(run.classes),
    }


def refuse_unsaved(run: TrainingRun) -> None:
    """Raises ``SnowmeltError`` for a run that went on without its checkpoints up to its end."""
    if not run.saved:
        raise SnowmeltError(
            f"{run.checkpoints.folder}: the run came to its end, but its last state could not be saved (the warnings "
            "say why); mend that, then go on with --resume from the last checkpoint that is there",
            code="file-unwritable",
        )


def finish(
    session: Session,
    config: ExperimentConfig,
    folder: RunFolder,
    run: TrainingRun,
    record: dict[str, Any],
    tensorboard: TensorBoardLog,
) -> None:
    """Plots and pictures of the best weights, the record and the page.

    Raises:
        SnowmeltError: something cannot be written; the training itself is saved, and a resumed run comes back here.
    """
    try:
        with named(folder.root):
            RunFolder.create(folder.root, resume=True)  # whose folders may have disappeared
            if not folder.config_file.exists():
                describe_run(folder, config, run)
            for error in run.announcer.settle():
                raise error
            draw_plots(folder)
            panels = draw_predictions(session, config, folder, run)
            # After the last epoch: a run that goes on there voids all from that number on, and so what it will draw
            # again.
            tensorboard.add_images(config.training.epochs, panels)
            write_record(folder, record)
            write_report(folder)
    except WriteError as error:
        text = f"training is done and saved, but {error}, then finish with --resume"
        raise SnowmeltError(text, code="file-unwritable") from error


def adopt_choices(root: Path, config: ExperimentConfig) -> ExperimentConfig:
    """What was left to ``auto`` (weights, teacher mode) as the run in ``root`` decided it when it began.

    Whether or not the hub answers today.
    """
    folder = RunFolder(root)
    if not folder.config_file.exists():
        return config
    before = folder.read_settings()
    values: dict[str, Any] = {}
    if config.student.weights == "auto":
        values["student"] = {"weights": before.student.weights}
    if config.teacher.mode == "auto":
        values["teacher"] = {"mode": before.teacher.mode}
    if config.teacher.network.weights == "auto":
        values.setdefault("teacher", {})["network"] = {"weights": before.teacher.network.weights}
    return with_values(config, values)


def check_same_settings(root: Path, config: ExperimentConfig, anew: str = "--overwrite or --run-name") -> None:
    """Refuse to go on with a run under settings that would have given another one.

    Args:
        anew: options of the command that begin a new run.

    Raises:
        SnowmeltError: names each setting that differs.
    """
    folder = RunFolder(root)
    if not folder.config_file.exists():
        return
    before = identity_of(folder.read_settings())
    now = identity_of(config)
    keys = sorted(before.keys() | now.keys())
    different = [
        f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in keys if before.get(key) != now.get(key)
    ]
    if different:
        raise SnowmeltError(
            f"{root}: cannot resume with other settings: {'; '.join(different)}; "
            f"give the same settings, or start anew with {anew}",
            code="run-other-settings",
        )
