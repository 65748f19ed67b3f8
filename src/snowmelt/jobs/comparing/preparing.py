"""Arms with their settings decided, on data that is opened once and on teachers that are found once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from snowmelt.build import cache_root, labelled_only, store_root
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.jobs.comparing.layout import CompareFolder, run_name
from snowmelt.jobs.session import Session, open_session, share_session
from snowmelt.jobs.teaching import check_losses, teacher_source
from snowmelt.study import Arm

HOW_ASKED = {"mode", "cache_folder", "cache_precision", "cache_stride"}  # these make no other teacher


@dataclass(frozen=True)
class ReadyArm:
    """An arm that could train now, but for its seed.

    Attributes:
        session: settings decided, teacher named, on the data of the comparison.
        teacher_session: in which its teacher is found or trained; the same object for arms with the same teacher.
    """

    arm: Arm
    session: Session
    teacher_session: Session | None

    @property
    def name(self) -> str:
        return self.arm.name

    @property
    def config(self) -> ExperimentConfig:
        return self.session.config

    def of_seed(self, folder: CompareFolder, seed: int) -> ExperimentConfig:
        """The settings of one of its runs."""
        return with_values(self.config, {"name": run_name(self.name, seed), "output": folder.root, "seed": seed})

    def with_config(self, config: ExperimentConfig) -> ReadyArm:
        return replace(self, session=replace(self.session, config=config))


def prepare_arms(
    config: ExperimentConfig, arms: Sequence[Arm], folder: CompareFolder
) -> tuple[Session, list[ReadyArm]]:
    """Open the data and settle every arm on it; nothing is trained yet.

    ``auto`` choices are made arm by arm, but weights of encoders are decided once, and as runs that are there have
    it: an arm that starts from other weights than the rest would win or lose by that.

    Returns:
        The session of ``config`` itself, and the arms.

    Raises:
        SnowmeltError: data that cannot be used, or losses that an arm cannot have on it.
    """
    config = adopt_weights(config, arms, folder)
    main = open_session(config)
    sessions = {_footing(config): main}
    teachers: dict[str, Session] = {}
    ready = []
    for arm in arms:
        wanted = _share_weights(main.config, arm.config)
        session = _session_of(wanted, config, main, sessions)
        session = replace(session, config=with_values(session.config, _shared_folders(config)))
        if not wanted.distills:
            ready.append(ReadyArm(arm, session, None))
            continue
        key = json.dumps(arm.config.teacher.model_dump(mode="json", exclude=HOW_ASKED), sort_keys=True)
        if key not in teachers:
            teachers[key] = _teacher_session(config, main, wanted)
        taught = with_values(session.config, {"teacher": {"source": teacher_source(teachers[key])}})
        session = replace(session, config=taught)
        check_losses(session)
        ready.append(ReadyArm(arm, session, teachers[key]))
    return main, ready


def adopt_weights(config: ExperimentConfig, arms: Sequence[Arm], folder: CompareFolder) -> ExperimentConfig:
    """Encoder weights left to ``auto`` as the comparison decided them when it began, whether or not the hub answers."""
    for arm in arms:
        for seed in folder.seeds_of(arm.name):
            run = folder.run(arm.name, seed)
            if run.config_file.exists():
                config = _share_weights(run.read_settings(), config)
    return config


def _share_weights(main: ExperimentConfig, config: ExperimentConfig) -> ExperimentConfig:
    """``config`` with the encoder weights that it leaves to ``auto`` as ``main`` has them, where the encoders agree."""
    values: dict[str, Any] = {}
    if config.student.weights == "auto" and config.student.encoder == main.student.encoder:
        values["student"] = {"weights": main.student.weights}
    ours, theirs = config.teacher.network, main.teacher.network
    if ours.weights == "auto" and ours.encoder == theirs.encoder and theirs.weights != "auto":
        values["teacher"] = {"network": {"weights": theirs.weights}}
    return with_values(config, values)


def _session_of(
    wanted: ExperimentConfig, config: ExperimentConfig, main: Session, sessions: dict[str, Session]
) -> Session:
    """A session of ``wanted`` on the data that are open already, or on its own where it wants other ones."""
    key = _footing(wanted)
    if key not in sessions and config.data.unlabelled is not None and wanted.data.unlabelled is None:
        with_pictures = with_values(
            wanted, {"data": {"unlabelled": config.data.unlabelled}, "distillation": {"enabled": True}}
        )
        if _footing(with_pictures) == _footing(config):
            sessions[key] = replace(main, splits=labelled_only(main.splits), doubts=())
    if key not in sessions:
        sessions[key] = open_session(wanted)
    return share_session(sessions[key], wanted)


def _teacher_session(config: ExperimentConfig, main: Session, wanted: ExperimentConfig) -> Session:
    """Where the teacher of an arm is found or trained: the experiment itself, whatever else the arm changes."""
    given = wanted.teacher.model_dump(exclude_unset=True, exclude=HOW_ASKED)
    taught = with_values(config, {"teacher": given, "distillation": {"enabled": True}})
    return share_session(main, _share_weights(main.config, taught))


def _shared_folders(config: ExperimentConfig) -> dict[str, Any]:
    """Stores of pictures and of answers stay where runs outside of the comparison have theirs."""
    return {"data": {"store_folder": store_root(config)}, "teacher": {"cache_folder": cache_root(config)}}


def _footing(config: ExperimentConfig) -> str:
    """What a session depends on: data, device and arithmetic."""
    training = config.training.model_dump(mode="json", include={"device", "precision", "compile", "threads"})
    return json.dumps([config.data.model_dump(mode="json"), training], sort_keys=True)
