"""What every job needs first: device, data that was checked, and settings without open choices."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

from snowmelt.build import (
    data_digest,
    is_scenes,
    join_unlabelled,
    labelled_only,
    make_engine,
    open_data,
    settle,
    settle_weights,
    store_pictures,
)
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.data import Splits
from snowmelt.training import Engine, deterministic, resolve_device


@dataclass(frozen=True)
class Session:
    """A settled experiment on a device, with its data."""

    config: ExperimentConfig
    engine: Engine
    splits: Splits
    warnings: tuple[str, ...] = ()  # to be said in every run of this session, and again in its summary
    doubts: tuple[str, ...] = ()  # about the unlabelled images: said in the run that sees them, and in its summary

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.engine.rank == 0

    @property
    def data_digest(self) -> str:
        """Tells one labelled data set from another."""
        return data_digest(labelled_only(self.splits))

    def say(self, text: str) -> None:
        """A line for the person at the terminal."""
        if self.leads:
            print(text, flush=True)


def open_session(config: ExperimentConfig, check: bool = True) -> Session:
    """Open device and data, look at every file once, settle what depends on either.

    Raises:
        SnowmeltError: no such device, or data that training would stumble over later.
    """
    engine = make_engine(config)
    labelled = open_data(config)
    settled, notes = settle(config, len(labelled.train), len(labelled.classes))
    splits, left_out = join_unlabelled(config, labelled)
    settled, warnings = settle_weights(settled)
    resolved = {"training": {"precision": engine.precision, "device": engine.device_name}}
    session = Session(with_values(settled, resolved), engine, splits, tuple(warnings), tuple(left_out))
    session.say(describe_data(session))
    for note in (*notes, *left_out):
        session.say(note)
    if not check:
        return session
    # Pictures that come to lie in a store are looked at on their way there, all others now.
    session = replace(session, splits=store_pictures(session.config, splits, engine, session.say))
    if session.leads:
        session.splits.check()
    engine.barrier()
    return session


def as_asked(config: ExperimentConfig) -> AbstractContextManager[None]:
    """What a job computes inside gives the same bits again, where ``training.deterministic`` asks for it.

    Raises:
        SnowmeltError: where that cannot be had.
    """
    training = config.training
    if not training.deterministic:
        return nullcontext()
    return deterministic(True, resolve_device(training.device), int(os.environ.get("WORLD_SIZE", "1")))


def share_session(session: Session, config: ExperimentConfig) -> Session:
    """The session of another experiment, settled, on the device and the very data of ``session``."""
    settled, _ = settle(config, len(labelled_only(session.splits).train), len(session.splits.classes))
    settled, warnings = settle_weights(settled)
    engine = session.engine
    resolved = {"training": {"precision": engine.precision, "device": engine.device_name}}
    return replace(session, config=with_values(settled, resolved), warnings=tuple(warnings))


def describe_data(session: Session) -> str:
    """What is trained on; embedded scenes are announced so that nobody takes them for their own data."""
    splits = session.splits
    labelled = len(labelled_only(splits).train)
    counts = f"{labelled} training and {len(splits.val)} validation images"
    if len(splits.train) > labelled:
        counts += f"; {len(splits.train) - labelled} unlabelled images join the {labelled} labelled ones"
    if is_scenes(session.config):
        return (
            f">>> EMBEDDED DATA: {counts} of generated scenes, not yours. They prove the machinery; "
            "give --data DIR for your own. <<<"
        )
    return f"data: {labelled_only(splits).train.describe()}; {splits.note}; {counts}"
