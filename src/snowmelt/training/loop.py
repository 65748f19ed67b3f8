"""The loop. Staged training is what this project is about, so it is written out here to be read top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.training.events import EpochEnded, EpochRecord, Message, RunEnded, RunStarted, StageStarted, StepEnded
from snowmelt.training.meter import Meter
from snowmelt.training.run import TrainingRun
from snowmelt.training.scoring import Score, Scorer
from snowmelt.training.seeding import seed_step
from snowmelt.training.state import TrainState
from snowmelt.training.step import StepOutcome, train_step
from snowmelt.training.tally import Tally, mean_terms


def fit(run: TrainingRun) -> TrainState:
    """Train to the end of the run, from wherever its last checkpoint left it.

    Raises:
        SnowmeltError: a checkpoint that does not fit, or losses that stay not finite.
    """
    # The optimizer's moments are loaded to where the parameters are, so the network moves first.
    run.network.to(run.engine.device)
    state = run.checkpoints.load_last(run.network, run.optimizer) or TrainState()
    if run.engine.rank == 0 and state.step > 0:
        run.checkpoints.take_back_best()
    run.engine.barrier()
    run.stepper = run.engine.set_up(run.optimizer)
    scorer = Scorer(run.engine, run.val_batches, run.classes, run.normalise, run.objective, run.teacher)
    announce_start(run, state)
    if state.step == 0:
        calibrate(run)
    reason: Literal["complete", "max_steps", "plateau"] = "complete"
    while state.epoch < run.schedules.epochs:
        if state.step >= run.last_step:
            reason = "max_steps"
            break
        if out_of_patience(run, state):
            reason = "plateau"
            break
        enter_stage(run, state)
        meter = Meter(run.engine.device)
        train_epoch(run, state, meter)
        complete = state.step_in_epoch == run.sampler.steps_per_epoch
        end_epoch(run, state, scorer, meter, complete)
    compare_with_teacher(run, state, scorer)
    run.announcer.tell(RunEnded(state.step, state.best_epoch, state.best_miou, reason))
    return state


def compare_with_teacher(run: TrainingRun, state: TrainState, scorer: Scorer) -> None:
    """Warn of a teacher that the student has caught up with: it has little left to teach."""
    teacher = scorer.memory.miou
    if teacher is not None and state.best_miou >= teacher:
        text = (
            f"the teacher (mIoU {teacher:.4f}) is not better than its student ({state.best_miou:.4f}): distillation "
            "has little to give here; train the teacher longer (--set teacher.epochs=N) or take a stronger one"
        )
        run.announcer.tell(Message(text, "warning"))


def announce_start(run: TrainingRun, state: TrainState) -> None:
    """Say what begins, or goes on."""
    run.announcer.tell(
        RunStarted(
            name=run.name,
            epochs=run.schedules.epochs,
            steps_per_epoch=run.sampler.steps_per_epoch,
            last_step=run.last_step,
            first_epoch=state.epoch,
            first_step=state.step,
            classes=run.classes,
            groups=tuple(run.schedules.learning_rates_at(0)),
            device=str(run.engine.device),
            precision=run.engine.precision,
            effective_batch=run.effective_batch,
            parameters=sum(parameter.numel() for parameter in run.network.parameters()),
            resumed=state.step > 0,
        )
    )
    for notice in run.notices:
        run.announcer.tell(Message(notice, "warning"))


def calibrate(run: TrainingRun) -> None:
    """Norm statistics for an encoder that starts frozen with random weights; else its features are all but zero."""
    if run.calibrate is None or run.options.calibration_batches == 0 or no_block_starts_frozen(run):
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
                yield run.normalise(batch.images.to(run.engine.device))

    with run.engine.autocast():
        run.calibrate(inputs())
    count = run.options.calibration_batches
    run.announcer.tell(Message(f"norm statistics of the frozen, random encoder taken from {count} batches"))


def no_block_starts_frozen(run: TrainingRun) -> bool:
    """Whether the whole encoder learns from the first step, and so keeps its statistics itself."""
    return run.schedules.thawed_at(0) == len(run.schedules.blocks)


def enter_stage(run: TrainingRun, state: TrainState) -> None:
    """Thaw what this epoch's schedule says, and wrap the network anew where the trainable set changed.

    Thawing flips flags; the optimizer and its moments are not touched.
    """
    thawed = run.schedules.thawed_at(state.epoch)
    if run.module is None or thawed != run.thaw.thawed:
        run.thaw.to(thawed)
        run.module = run.engine.wrap(run.network, before=run.module)
        run.announcer.tell(
            StageStarted(
                epoch=state.epoch,
                thawed_blocks=thawed,
                learns=("decoder", *run.thaw.blocks[:thawed]),
                trainable_parameters=run.thaw.trainable_count(),
            )
        )
    run.network.train()


def train_epoch(run: TrainingRun, state: TrainState, meter: Meter) -> None:
    """The remaining steps of the current epoch, or as many as the run still has."""
    temperature = run.schedules.temperature_at(state.epoch)
    tally = Tally(run.engine, state)
    run.sampler.set_position(state.epoch, state.step_in_epoch)
    for batch in run.train_batches:
        rates = set_learning_rates(run, state)
        seed_step(run.options.seed, state.epoch, state.step_in_epoch, run.engine.rank)
        outcome = train_step(run, batch, temperature)
        tally.add(outcome.terms, outcome.finite)
        state.step += 1
        state.step_in_epoch += 1
        meter.count(len(batch) * run.engine.world_size)
        announce_step(run, state, outcome, tally, rates, len(batch))
        if state.step >= run.last_step:
            break
        every = run.options.checkpoint_every
        if every and state.step_in_epoch % every == 0 and state.step_in_epoch < run.sampler.steps_per_epoch:
            tally.store(state)
            save_last(run, state)
    tally.store(state)
    check_skipped(run, state)


def set_learning_rates(run: TrainingRun, state: TrainState) -> dict[str, float]:
    """base x schedule(step) x scale for every group, frozen or not."""
    position = state.epoch + state.step_in_epoch / run.sampler.steps_per_epoch
    rates = run.schedules.learning_rates_at(position)
    for group in run.optimizer.param_groups:
        group["lr"] = rates[group["name"]]
    return rates


def announce_step(
    run: TrainingRun, state: TrainState, outcome: StepOutcome, tally: Tally, rates: dict[str, float], images: int
) -> None:
    """Tell the step; at log intervals read the losses from the device, and look whether they are finite."""
    losses = None
    if state.step % run.options.log_every == 0:
        stacked = torch.stack([value.float() for value in outcome.terms.values()])
        values = run.engine.sum_over_processes(stacked).tolist()
        losses = dict(zip(outcome.terms, values, strict=True))
        tally.store(state)
        check_skipped(run, state)
    run.announcer.tell(
        StepEnded(
            step=state.step,
            epoch=state.epoch,
            step_in_epoch=state.step_in_epoch,
            temperature=run.schedules.temperature_at(state.epoch),
            thawed_blocks=run.thaw.thawed,
            learning_rates=rates,
            losses=losses,
            images=images * run.engine.world_size,
        )
    )


def check_skipped(run: TrainingRun, state: TrainState) -> None:
    """Stop a run whose losses stay not finite: it would only burn time."""
    if state.skipped_in_a_row >= run.options.max_skipped:
        raise SnowmeltError(
            f"epoch {state.epoch}, step {state.step}: loss or gradient was not finite in {state.skipped_in_a_row} "
            "steps in a row; lower --set optimizer.lr, use --precision 32, or check the images and the teacher"
        )


def end_epoch(run: TrainingRun, state: TrainState, scorer: Scorer, meter: Meter, complete: bool) -> None:
    """Score, save, tell."""
    meter.stop_training()
    if not complete:
        save_last(run, state)  # before the score: the uninterrupted run does not score here
    score = scorer.score(run.network, run.schedules.temperature_at(state.epoch))
    best = score.miou > state.best_miou
    if best:
        state.best_miou, state.best_epoch = score.miou, state.epoch
        if run.engine.rank == 0:
            run.checkpoints.save_best(state, run.network, complete)
    run.announcer.tell(EpochEnded(make_record(run, state, score, meter, complete, best)))
    # Saved after it was told: a cut in between repeats the epoch, and whoever keeps rows drops those of epochs that
    # are about to come again. The other way round a row would be lost.
    if complete:
        state.next_epoch()
        save_last(run, state)


def make_record(
    run: TrainingRun, state: TrainState, score: Score, meter: Meter, complete: bool, best: bool
) -> EpochRecord:
    """All that is logged of the epoch just ended."""
    return EpochRecord(
        epoch=state.epoch,
        step=state.step,
        complete=complete,
        temperature=run.schedules.temperature_at(state.epoch),
        thawed_blocks=run.thaw.thawed,
        learning_rates=run.schedules.learning_rates_at(state.epoch),
        train=mean_terms(state),
        val=score.terms,
        miou=score.miou,
        iou=score.iou,
        teacher_miou=score.teacher_miou,
        agreement=score.agreement,
        skipped_steps=state.skipped,
        best=best,
        timing=meter.read(),
    )


def save_last(run: TrainingRun, state: TrainState) -> None:
    """The checkpoint to go on from; one process writes, the others wait for it."""
    if run.engine.rank == 0:
        run.checkpoints.save_last(state, run.network, run.optimizer)
    run.engine.barrier()


def out_of_patience(run: TrainingRun, state: TrainState) -> bool:
    """Whether the score has not improved for so many epochs that the run may end."""
    patience = run.options.patience
    return patience is not None and state.best_epoch >= 0 and state.epoch - 1 - state.best_epoch >= patience
