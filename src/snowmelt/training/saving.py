"""What a run saves, and what happens where that is not possible: it stops with one line, or goes on and tries again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from snowmelt.disk import WriteError
from snowmelt.errors import SnowmeltError
from snowmelt.training.checkpoints import Parts
from snowmelt.training.memory_notes import drop_notes
from snowmelt.training.run import TrainingRun
from snowmelt.training.state import TrainState


def save_last(run: TrainingRun, state: TrainState) -> bool:
    """The checkpoint to go on from; one process writes, the others wait for it.

    Returns:
        Whether it was written: ``False`` only in a run that goes on without it.

    Raises:
        SnowmeltError: it cannot be written; the ones before are whole.
    """

    def write() -> None:
        run.checkpoints.save_last(state, *parts_of(run))
        drop_notes(run.checkpoints.folder)  # the state holds what they asked for

    run.saved = attempt(run, state, write)
    return run.saved


def parts_of(run: TrainingRun) -> Parts:
    """What is saved and loaded with the state."""
    projections = None if run.features is None else run.features.projections
    return Parts(run.network, run.optimizer, projections, run.average, run.engine.scaler)


def save_best(run: TrainingRun, state: TrainState) -> None:
    """The weights that the network has now, as the best. Where they cannot be written they wait for the next save."""
    if run.options.goes_on and run.engine.rank == 0:
        run.checkpoints.hold_best(state, run.network)
    attempt(run, state, lambda: run.checkpoints.save_best(state, run.network))


def attempt(run: TrainingRun, state: TrainState, write: Callable[[], None]) -> bool:
    """Write in one process, and let all know whether that worked.

    Raises:
        SnowmeltError: it did not, and the settings end the run then.
    """
    error = _tried(run, write) if run.engine.rank == 0 else None
    if not int(run.engine.sum_over_processes(torch.tensor(int(error is not None), device=run.engine.device))):
        return True
    if not run.options.goes_on:
        raise error or SnowmeltError(
            f"{run.checkpoints.folder}: the first process cannot write there; its own message says why",
            code="file-unwritable",
        )
    if error is not None:
        position = f"epoch {state.epoch}, step {state.step}"
        run.announcer.warn(f"{position}: {error}; the run goes on and tries again at the next save")
    return False


def _tried(run: TrainingRun, write: Callable[[], None]) -> WriteError | None:
    for again in (True, False):
        try:
            write()
        except WriteError as error:
            if not (again and run.options.goes_on and run.checkpoints.make_anew()):
                return error
            run.announcer.warn(f"{error.path}: has disappeared while training, and is made anew")
        else:
            return None
    return None


@contextmanager
def explained(run: TrainingRun) -> Iterator[None]:
    """What cannot be written inside ends the run in one line: what, why, what is left, and what to do."""
    try:
        yield
    except WriteError as error:
        saved = run.checkpoints.saved_at
        if saved is not None and run.checkpoints.last.exists():
            left = f"then go on with --resume: the checkpoint of epoch {saved.epoch}, step {saved.step} is whole"
        else:
            left = "then start again: there is no checkpoint yet"
        raise SnowmeltError(
            f"training stopped: {error}, {left}; training.on_write_failure=go_on trains on without",
            code="file-unwritable",
        ) from error
