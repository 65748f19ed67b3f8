"""What the loop tells its listeners: the start, each step, each epoch, and what was amiss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from snowmelt.schedules import ALPHA
from snowmelt.training.causes import NAMES, OVERFLOW, TEACHER
from snowmelt.training.events import EpochRecord, Message, RunStarted, StepEnded
from snowmelt.training.meter import Meter
from snowmelt.training.run import TrainingRun
from snowmelt.training.scoring import Score, Scorer
from snowmelt.training.state import TrainState
from snowmelt.training.suspects import Skipped
from snowmelt.training.tally import mean_terms
from snowmelt.training.thaw_guard import GuardState, Reaction

MOST_WARNINGS = 5  # about skipped steps in one run


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
    for notice in (*run.notices, *run.checkpoints.notices):
        run.announcer.tell(Message(notice, "warning"))
    if state.suspects:
        skipped = max(state.skipped, state.skipped_in_a_row)
        text = (
            f"before the cut, {_steps(skipped)} up to epoch {state.epoch} {'was' if skipped == 1 else 'were'} skipped "
            f"as not finite; images in the newest: {name_images(run, state.suspects)}"
        )
        run.announcer.tell(Message(text, "warning"))


def announce_step(
    run: TrainingRun,
    state: TrainState,
    rates: Mapping[str, float],
    losses: Mapping[str, float] | None,
    images: int,
) -> None:
    """Tell the step just done; ``images`` are those of this process."""
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


def announce_skipped(run: TrainingRun, state: TrainState, skipped: Skipped) -> None:
    """Warn of steps that changed nothing, with the images that stood in them.

    Steps whose gradient fp16 could not hold are how the loss scale is found, and no reason to worry. After the first
    few warnings of a run the rest is for the log alone: the summary repeats every warning, and counts the steps in any
    case.
    """
    text = (
        f"epoch {state.epoch}: {tell_causes(run, skipped.causes)} not finite in {_steps(skipped.steps)} up to step "
        f"{state.step}, which changed nothing; images in {'it' if skipped.steps == 1 else 'them'}: "
        f"{name_images(run, skipped.images)}"
    )
    quiet = set(skipped.causes) == {NAMES[OVERFLOW]} or state.skip_warnings >= MOST_WARNINGS
    state.skip_warnings += not quiet
    run.announcer.tell(Message(text, "info" if quiet else "warning"))


def tell_causes(run: TrainingRun, causes: Mapping[str, int]) -> str:
    """What was not finite, the teacher by its name, with counts where there are several: ``loss (3), gradient (1)``."""
    names = {NAMES[TEACHER]: f"{NAMES[TEACHER]} ({run.teacher_name})"}
    told = [names.get(name, name) for name in causes]
    if len(told) < 2:
        return told[0] if told else "something"
    return ", ".join(f"{name} ({count})" for name, count in zip(told, causes.values(), strict=True))


def image_names(run: TrainingRun, images: list[int]) -> list[str]:
    """Images by name, the newest first, each once."""
    return [run.name_of(image) for image in dict.fromkeys(reversed(images))]


def name_images(run: TrainingRun, images: list[int], most: int = 16) -> str:
    """The same in one line."""
    names = image_names(run, images)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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
        learning_rates=run.rates_at(state, state.epoch),
        train=mean_terms(state),
        val=score.terms,
        miou=score.miou,
        iou=score.iou,
        teacher_miou=score.teacher_miou,
        agreement=score.agreement,
        skipped_steps=state.skipped,
        best=best,
        timing=meter.read(),
        alpha=None if run.teacher is None else run.weights_at(state)[ALPHA],
        weights=run.schedules.weights_at(state.epoch),
        teacher_iou=score.teacher_iou,
        confusion=score.confusion,
        teacher_confusion=score.teacher_confusion,
        rollbacks=len(state.rollbacks),
    )


def announce_fade(run: TrainingRun, state: TrainState, score: Score) -> None:
    """Say once that the student has passed its teacher, and what follows."""
    text = (
        f"the student (mIoU {score.miou:.4f}) has passed its teacher ({score.teacher_miou:.4f}) in epoch "
        f"{state.epoch}: distillation fades out over the next {run.options.fade.epochs} epochs"
    )
    run.announcer.tell(Message(text, "warning"))


def announce_guard(run: TrainingRun, state: TrainState, reaction: Reaction, validation: float, waiting: bool) -> None:
    """Say what the thaw guard did after the epoch just ended; its first act is a warning."""
    guard = state.guard
    loss = f"epoch {state.epoch}: the task's validation loss ({validation:.4f})"
    if reaction == "recovered":
        goes_on = f"thawing goes on, {_epochs(guard.delay)} later than scheduled"
        text = (
            f"{loss} is back at its lowest ({guard.best:.4f}): "
            f"{goes_on if waiting else 'blocks that were slowed get their rates back'}"
        )
    else:
        effects = ["thawing waits"] if waiting else []
        if state.thawed_in:
            newest = len(state.thawed_in) - 1
            effects.append(f"{run.schedules.blocks[newest]} learns at {guard.factor(newest):g} of its rate")
        text = (
            f"{loss} has been above its lowest ({guard.best:.4f}) for {_epochs(guard.rising)}, while the training loss "
            f"is below what it was then: {' and '.join(effects)} until it recovers"
        )
    first = guard.reactions == 1 and reaction != "recovered"
    run.announcer.tell(Message(text, "warning" if first else "info"))


def announce_never_thawed(run: TrainingRun, state: TrainState) -> None:
    """Say at the end what a hold that lasted has cost: blocks that the plan thaws and that never learned."""
    end = replace(state, epoch=run.schedules.epochs - 1, guard=GuardState())
    planned, thawed = run.thawed_at(end), len(state.thawed_in)
    if state.guard.delay and thawed < planned:
        text = (
            f"the thaw guard delayed thawing by {_epochs(state.guard.delay)}, so {planned - thawed} of {planned} "
            f"planned blocks never learned; thaw.most={thawed} plans a run like this one, and without "
            "reactions.thaw_guard all of them thaw"
        )
        run.announcer.tell(Message(text, "warning"))


def compare_with_teacher(run: TrainingRun, state: TrainState, scorer: Scorer) -> None:
    """Say that the student has caught up with its teacher: the aim, or a weak teacher. A fade said so itself."""
    teacher = scorer.memory.miou
    if state.fade_from is None and teacher is not None and state.best_miou >= teacher:
        text = (
            f"on validation the student (mIoU {state.best_miou:.4f}) has caught up with its teacher ({teacher:.4f}), "
            "from which it has little left to learn; a student trained without a teacher would show whose doing that "
            "is (snowmelt compare), and a teacher that is stronger or trained longer (--set teacher.epochs=N) has more "
            "to give"
        )
        run.announcer.tell(Message(text))


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
