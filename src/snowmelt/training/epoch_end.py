"""The end of an epoch: score, keep the best, tell, react, save; and the end of a run that was asked to stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from snowmelt.errors import SnowmeltError, Stopped
from snowmelt.training.causes import WEIGHTS
from snowmelt.training.events import EpochEnded, RunStopped
from snowmelt.training.meter import Meter
from snowmelt.training.reactions import react
from snowmelt.training.run import TrainingRun
from snowmelt.training.saving import save_best, save_last
from snowmelt.training.scoring import Score, Scorer
from snowmelt.training.state import TrainState
from snowmelt.training.stopping import Stopping
from snowmelt.training.telling import make_record


def make_scorer(run: TrainingRun) -> Scorer:
    """Scores the run's network on its validation images."""
    return Scorer(
        run.engine,
        run.val_batches,
        run.classes,
        run.normalise,
        run.objective,
        run.validation_teacher,
        run.features,
    )


def end_epoch(
    run: TrainingRun, state: TrainState, scorer: Scorer, meter: Meter, complete: bool, stopping: Stopping
) -> dict[str, int] | None:
    """Score, save, tell.

    Returns:
        What was not finite, where a complete epoch has left weights that answer with no finite number; nothing was
        saved or told then.

    Raises:
        ScoreCut: a process was asked to stop meanwhile; nothing has come of it.
    """
    meter.stop_training()
    if not complete:
        save_last(run, state)  # before the score: the uninterrupted run does not score here
    with scored_weights(run):
        temperature, weights = run.schedules.temperature_at(state.epoch), run.weights_at(state)
        score = scorer.score(run.network, temperature, weights, cut=lambda: stopping.asked_here)
        if complete and score.all_broken:
            return {WEIGHTS: 1}
        best = keep_best(run, state, score, complete)
    run.announcer.tell(EpochEnded(make_record(run, state, score, meter, complete, best)))
    # Saved after it was told: a cut in between repeats the epoch, and whoever keeps rows drops those of epochs that
    # are about to come again. The other way round a row would be lost.
    if complete:
        react(run, state, score)
        state.next_epoch()
        save_last(run, state)
    return None


@contextmanager
def scored_weights(run: TrainingRun) -> Iterator[None]:
    """The network has the weights that are scored: its own, or their average where one is kept."""
    if run.average is None:
        yield
        return
    run.engine.share_buffers(run.network)  # which scoring does for the values that it meets, and that is the average
    with run.average.in_place():
        yield


def keep_best(run: TrainingRun, state: TrainState, score: Score, complete: bool) -> bool:
    """Whether this is the best score so far; the weights that have it are saved."""
    if not score.miou > state.best_miou:
        return False
    state.best_miou, state.best_epoch = score.miou, state.epoch
    save_best(run, state)
    return True


def stop_here(run: TrainingRun, state: TrainState, stopping: Stopping, saved: bool = False) -> NoReturn:
    """End a run that was asked to stop: its position saved, its listeners told.

    Args:
        saved: the last checkpoint has this very position.

    Raises:
        Stopped: always.
    """
    stopping.at_boundary(state.step)  # a process that was not asked itself learns by what signal
    assert stopping.signal is not None
    if not (saved and run.saved) and not save_last(run, state):
        raise SnowmeltError(
            f"asked to stop by {stopping.signal.name} at epoch {state.epoch}, step {state.step}, which could not be "
            "saved (the warnings say why); --resume goes on from the checkpoint before",
            code="file-unwritable",
        )
    event = RunStopped(stopping.signal.name, state.epoch, state.step)
    run.announcer.tell(event)
    raise Stopped(event.text, stopping.signal)
