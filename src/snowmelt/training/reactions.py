"""What a run decides of its own accord once an epoch is complete.

Every process has the same scores, so all of them decide alike.
"""

from __future__ import annotations

from dataclasses import replace

from snowmelt.training.run import TrainingRun
from snowmelt.training.scoring import Score
from snowmelt.training.state import TrainState
from snowmelt.training.tally import mean_terms
from snowmelt.training.telling import announce_fade, announce_guard


def react(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Bring what the epoch just ended has shown into the state; it holds from the next epoch on."""
    begin_fade(run, state, score)
    guard_thaw(run, state, score)


def begin_fade(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Let distillation fade if this epoch is the first in which the student passed its teacher."""
    if run.options.fade.begins(score.miou, score.teacher_miou, state.fade_from):
        state.fade_from = state.epoch
        announce_fade(run, state, score)


def guard_thaw(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Let the guard judge the epoch by its losses of the task alone.

    The total cannot be compared between epochs: it moves with temperature and alpha by itself.
    """
    validation = run.objective.steady_task(score.terms)
    training = run.objective.steady_task(mean_terms(state))
    thawed, waiting = len(state.thawed_in), last_thaw(run, state) > state.epoch
    state.guard, reaction = run.options.guard.judge(state.guard, validation, training, thawed, waiting)
    if reaction is not None:
        announce_guard(run, state, reaction, validation, waiting)


def last_thaw(run: TrainingRun, state: TrainState) -> int:
    """The last epoch in which a block thaws, as the schedule now stands; -1 where none did and none will."""
    thawed, last = len(state.thawed_in), max(state.thawed_in, default=-1)
    for epoch in range(state.epoch, run.schedules.epochs):
        blocks = run.thawed_at(replace(state, epoch=epoch))
        if blocks > thawed:
            thawed, last = blocks, epoch
    return last


def out_of_patience(run: TrainingRun, state: TrainState) -> bool:
    """Whether the score has not improved for so many epochs that the run may end.

    A plateau before the last thaw is not the end: what has yet to learn may lift the score.
    """
    patience = run.options.patience
    if patience is None or state.best_epoch < 0:
        return False
    return state.epoch - 1 - max(state.best_epoch, last_thaw(run, state)) >= patience
