"""The loop. Staged training is what this project is about, so it is written out here to be read top to bottom."""

from __future__ import annotations

import time
from contextlib import nullcontext
from typing import Literal

import torch

from snowmelt.errors import SnowmeltError
from snowmelt.training.average import WeightAverage
from snowmelt.training.epoch_end import end_epoch, make_scorer, stop_here
from snowmelt.training.events import RunEnded, StageCompiled
from snowmelt.training.memory_guard import guard_memory
from snowmelt.training.meter import Meter
from snowmelt.training.out_of_memory import CarefulSteps, follow_notes
from snowmelt.training.reactions import out_of_patience
from snowmelt.training.rollback import go_back, keep_start, length
from snowmelt.training.run import TrainingRun
from snowmelt.training.saving import explained, parts_of, save_last
from snowmelt.training.scoring import ScoreCut, Scorer
from snowmelt.training.seeding import seed_step
from snowmelt.training.stages import calibrate, enter_stage
from snowmelt.training.state import TrainState
from snowmelt.training.step import StepOutcome
from snowmelt.training.stopping import Stopping
from snowmelt.training.suspects import Suspects
from snowmelt.training.tally import Tally
from snowmelt.training.telling import (
    announce_never_thawed,
    announce_skipped,
    announce_start,
    announce_step,
    compare_with_teacher,
)


def fit(run: TrainingRun) -> TrainState:
    """Train to the end of the run, from wherever its last checkpoint left it.

    Raises:
        SnowmeltError: a checkpoint that does not fit, or losses that stay not finite.
        Stopped: ``run.stop`` asked for it; the last checkpoint has the position, inside the epoch too.
    """
    with explained(run):
        return _fit(run)


def _fit(run: TrainingRun) -> TrainState:
    # The optimizer's moments are loaded to where the parameters are, so the network moves first.
    run.learner.to(run.engine.device)
    if run.options.average is not None:
        run.average = WeightAverage(run.learner, run.options.average)
    loaded = run.checkpoints.load_last(*parts_of(run))
    state = loaded or TrainState()
    if run.engine.largest(state.step, -state.step) != [state.step, -state.step]:
        raise SnowmeltError(
            f"{run.checkpoints.folder}: the processes read different checkpoints there; all must see one folder",
            code="checkpoint-damaged",
        )
    if run.engine.rank == 0 and loaded is not None:
        run.checkpoints.settle(state)
    run.engine.barrier()
    run.stepper = run.engine.set_up(run.optimizer)
    scorer = make_scorer(run)
    announce_start(run, state)
    if loaded is None:
        calibrate(run, state)
        if run.average is not None:
            run.average.restart()
    follow_notes(run, state)
    guard_memory(run, state)
    if loaded is None:
        keep_start(run, state)
    with nullcontext() if run.stop is None else run.stop.heeding():
        reason = train_epochs(run, state, scorer)
        if not run.saved and state.step_in_epoch == 0:  # the state of a partial epoch has been scored since
            save_last(run, state)
    compare_with_teacher(run, state, scorer)
    if reason != "max_steps":
        announce_never_thawed(run, state)
    run.announcer.tell(RunEnded(state.step, state.best_epoch, state.best_miou, reason))
    return state


def train_epochs(run: TrainingRun, state: TrainState, scorer: Scorer) -> Literal["complete", "max_steps", "plateau"]:
    """Every epoch that is left, and why there is none after them.

    An epoch that was cut between its steps and its score has no step left and gets its score, the last and partial one
    of ``max_steps`` too. Where bad steps do not end the run goes back, and the state with it.

    Raises:
        SnowmeltError: it went back often enough.
        Stopped: somebody asked for it.
    """
    stopping = Stopping(run.engine, run.stop)
    while state.epoch < run.schedules.epochs:
        if state.step >= run.last_step and state.step_in_epoch == 0:
            return "max_steps"
        if out_of_patience(run, state):
            return "plateau"
        compiles = enter_stage(run, state) and run.engine.compiles
        meter = Meter(run.engine.device)
        trouble = train_epoch(run, state, meter, stopping, compiles)
        if trouble is None:
            if stopping.at_boundary(state.step):
                stop_here(run, state, stopping)
            complete = state.step_in_epoch == run.sampler.steps_per_epoch
            try:
                trouble = end_epoch(run, state, scorer, meter, complete, stopping)
            except ScoreCut:
                stop_here(run, state, stopping)
        if trouble is not None:
            go_back(run, state, trouble)
        if stopping.at_boundary(state.step):
            stop_here(run, state, stopping, saved=True)
        if trouble is None and not complete:
            return "max_steps"
    return "complete"


def train_epoch(
    run: TrainingRun, state: TrainState, meter: Meter, stopping: Stopping, compiles: bool = False
) -> dict[str, int] | None:
    """The remaining steps of the current epoch, or as many as the run still has, or until somebody asks for the end.

    ``compiles``: the first of them waits for a compiler, and how long it took is told.

    Returns:
        What was not finite, once too many steps in a row were bad; the epoch is left then.
    """
    temperature, weights = run.schedules.temperature_at(state.epoch), run.weights_at(state)
    tally = Tally(run.engine, state)
    suspects = Suspects(run.engine, run.options.batch_size * run.options.accumulate)
    steps = CarefulSteps(run)
    run.sampler.set_position(state.epoch, state.step_in_epoch)
    for batch in run.train_batches if state.step < run.last_step else ():
        rates = set_learning_rates(run, state)
        seed_step(run.options.seed, state.epoch, state.step_in_epoch, run.engine.rank)
        began = time.perf_counter()
        outcome = steps.make(state, batch, temperature, weights)
        if run.average is not None:
            run.average.update(state.step)
        if compiles:
            run.announcer.tell(StageCompiled(state.epoch, time.perf_counter() - began))
            compiles = False
        tally.add(outcome.terms, outcome.cause)
        suspects.add(batch.indices, outcome.cause, outcome.sound)
        state.step += 1
        state.step_in_epoch += 1
        meter.count(len(batch) * run.engine.world_size)
        losses, trouble = None, None
        if state.step % run.options.log_every == 0:
            losses = read_losses(run, outcome)
            trouble = read_tallies(run, state, tally, suspects)
        announce_step(run, state, rates, losses, len(batch))
        if trouble is not None:
            return trouble
        if state.step >= run.last_step or stopping.after_step(state.step):
            break
        every = run.options.checkpoint_every
        if every and state.step_in_epoch % every == 0 and state.step_in_epoch < run.sampler.steps_per_epoch:
            trouble = read_tallies(run, state, tally, suspects)
            if trouble is not None:
                return trouble
            save_last(run, state)
    return read_tallies(run, state, tally, suspects)


def set_learning_rates(run: TrainingRun, state: TrainState) -> dict[str, float]:
    """Set the rate of every group, frozen or not."""
    position = state.epoch + state.step_in_epoch / run.sampler.steps_per_epoch
    rates = run.rates_at(state, position)
    for group in run.optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return rates


def read_losses(run: TrainingRun, outcome: StepOutcome) -> dict[str, float]:
    """The step's losses, all processes together; waits for the device, so at log intervals alone."""
    stacked = torch.stack([value.float() for value in outcome.terms.values()])
    values = run.engine.sum_over_processes(stacked).tolist()
    return dict(zip(outcome.terms, values, strict=True))


def read_tallies(run: TrainingRun, state: TrainState, tally: Tally, suspects: Suspects) -> dict[str, int] | None:
    """Bring what has stayed on the device into the state, and say what was skipped; waits for the device.

    Before every save too: what a checkpoint counts has been said when it is written, and a run that goes on from it
    says the rest.

    Returns:
        What was not finite, where a row of bad steps since the last reading was too long, be it over or not: so it does
        not matter when somebody looks.
    """
    tally.store(state)
    skipped = suspects.read(state)
    if skipped.steps:
        announce_skipped(run, state, skipped)
    return skipped.row if length(state, skipped.row) >= run.options.max_skipped else None
