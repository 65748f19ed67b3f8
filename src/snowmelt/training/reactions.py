"""What a run decides of its own accord once an epoch is complete.

Every process has the same scores, so all of them decide alike.
"""

from __future__ import annotations

from snowmelt.training.run import TrainingRun
from snowmelt.training.scoring import Score
from snowmelt.training.state import TrainState
from snowmelt.training.telling import announce_fade


def react(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Bring what the epoch just ended has shown into the state; it holds from the next epoch on."""
    begin_fade(run, state, score)


def begin_fade(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Let distillation fade if this epoch is the first in which the student passed its teacher."""
    if run.options.fade.begins(score.miou, score.teacher_miou, state.fade_from):
        state.fade_from = state.epoch
        announce_fade(run, state, score)


def out_of_patience(run: TrainingRun, state: TrainState) -> bool:
    """Whether the score has not improved for so many epochs that the run may end."""
    patience = run.options.patience
    return patience is not None and state.best_epoch >= 0 and state.epoch - 1 - state.best_epoch >= patience
