"""What lies between two stages: thawing, wrapping the network anew, and settling what starts frozen."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from snowmelt.training.events import Message, StageStarted
from snowmelt.training.run import TrainingRun
from snowmelt.training.seeding import seed_step
from snowmelt.training.state import TrainState


def calibrate(run: TrainingRun, state: TrainState) -> None:
    """Norm statistics for a random encoder that starts frozen or never counts; else its features are all but zero."""
    if run.calibrate is None or run.options.calibration_batches == 0 or counts_itself(run, state):
        return
    seed_step(run.options.seed, 0, 0, run.engine.rank)

    def inputs() -> Iterator[Tensor]:
        needed = run.options.calibration_batches
        passes = range(-(-needed // run.sampler.steps_per_epoch))
        for pass_number in passes:
            run.sampler.set_position(pass_number, 0)
            for batch in run.train_batches:
                if needed == 0:
                    return
                needed -= 1
                yield run.normalise(batch.to(run.engine.device).coloured().images)

    with run.engine.autocast():
        run.calibrate(inputs())
    count = run.options.calibration_batches
    run.announcer.tell(Message(f"norm statistics of the random encoder taken from {count} batches"))


def counts_itself(run: TrainingRun, state: TrainState) -> bool:
    """Whether all norms of the encoder take their statistics from the first step on."""
    return run.thawed_at(state) == len(run.schedules.blocks) and not run.thaw.norm_eval


def enter_stage(run: TrainingRun, state: TrainState) -> bool:
    """Thaw what is to learn in this epoch, and wrap the network anew where the trainable set changed.

    Thawing flips flags; the optimizer and its moments are not touched. The state learns when each block thawed.

    Returns:
        Whether the network was wrapped anew.
    """
    thawed = run.thawed_at(state)
    state.enter_stage(thawed)
    anew = run.module is None or thawed != run.thaw.thawed
    if anew:
        run.thaw.to(thawed)
        run.module = run.engine.wrap(run.learner, before=run.module)
        run.announcer.tell(
            StageStarted(
                epoch=state.epoch,
                thawed_blocks=thawed,
                learns=("decoder", *run.thaw.blocks[:thawed]),
                trainable_parameters=run.thaw.trainable_count(),
            )
        )
    run.learner.train()
    return anew
