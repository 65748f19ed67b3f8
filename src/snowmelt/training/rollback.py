"""Going back to the last good checkpoint, with lower rates, where bad steps do not end; and the end of a run that has.

All processes decide by the same numbers, so all of them go back, or end, at the same step.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from snowmelt.errors import SnowmeltError
from snowmelt.training.causes import NAMES, TEACHER, WEIGHTS
from snowmelt.training.events import Message, NotFinite, RolledBack
from snowmelt.training.run import TrainingRun
from snowmelt.training.saving import attempt, parts_of, save_last
from snowmelt.training.state import TrainState
from snowmelt.training.telling import image_names, name_images, tell_causes

FORMAT = 1


def keep_start(run: TrainingRun, state: TrainState) -> None:
    """Save the position before the first step, the place to go back to until the first epoch is over.

    Raises:
        SnowmeltError: it cannot be written, and the settings end the run then; otherwise there is none to go back to.
    """
    if run.options.rollbacks:
        attempt(run, state, lambda: run.checkpoints.save_start(state, parts_of(run)))


def go_back(run: TrainingRun, state: TrainState, row: Mapping[str, int]) -> None:
    """Take run and ``state`` back to the last good checkpoint, with every rate lower than before.

    What the run has learned about the machine's memory is kept. The new position is saved at once: a cut after it finds
    what happened.

    Args:
        row: what was not finite -> in how many steps, for the row that was too long.

    Raises:
        SnowmeltError: it went back often enough, or there is nothing to go back to.
    """
    event = describe(run, state, row)
    earlier = None
    if len(state.rollbacks) < run.options.rollbacks:
        earlier = run.checkpoints.load_good(parts_of(run))
    if earlier is None:
        give_up(run, state, row, event)
    run.engine.barrier()  # every process has read what one of them is about to replace
    factor = state.rate_factor * run.options.rollback_scale
    event |= {"back_to": {"epoch": earlier.epoch, "step": earlier.step}, "factor_from_here": factor}
    text = (
        f"{tell_row(run, state, row)}: back to epoch {earlier.epoch}, step {earlier.step}, with every rate at "
        f"{factor:g} of its schedule (rollback {len(state.rollbacks) + 1} of {run.options.rollbacks}); "
        f"images in the last of them: {name_images(run, state.suspects) or 'not known'}"
    )
    state.go_back_to(earlier)
    state.rollbacks.append(event)
    state.rate_factor = factor
    if run.engine.rank == 0:
        run.checkpoints.go_back(state)
    run.stepper = run.engine.set_up(run.optimizer)
    save_last(run, state)
    run.announcer.tell(NotFinite(report(run, state.rollbacks), stops=False))
    run.announcer.tell(RolledBack(state.epoch, state.step, state.best_epoch, factor, len(state.rollbacks)))
    run.announcer.tell(Message(text, "warning"))


def give_up(run: TrainingRun, state: TrainState, row: Mapping[str, int], event: dict[str, Any]) -> NoReturn:
    """End the run, and say what happened when.

    Raises:
        SnowmeltError: always.
    """
    run.announcer.tell(NotFinite(report(run, [*state.rollbacks, {**event, "back_to": None}]), stops=True))
    before = ""
    if run.options.rollbacks:
        times = {0: "nothing to go back to", 1: "after 1 rollback"}
        before = f" ({times.get(len(state.rollbacks), f'after {len(state.rollbacks)} rollbacks')})"
    ways = "lower --set optimizer.lr, use --precision 32, or check"
    if NAMES[TEACHER] in row:
        ways = "check the teacher, its precision (--precision 32) and"
    raise SnowmeltError(
        f"{tell_row(run, state, row)}{before}; not_finite.json in the run folder has what happened when; {ways} the "
        f"images, the last of which were {name_images(run, state.suspects) or 'not known'}",
        code="numbers-not-finite",
    )


def tell_row(run: TrainingRun, state: TrainState, row: Mapping[str, int]) -> str:
    """Where it happened, what it was and how long it went on."""
    place = f"epoch {state.epoch}, step {state.step}: {tell_causes(run, row)} not finite"
    return place if WEIGHTS in row else f"{place} in {length(state, row)} steps in a row"


def length(state: TrainState, row: Mapping[str, int]) -> int:
    """Steps of the row: as counted on the device, or from the causes where it is over."""
    return max(state.skipped_in_a_row, sum(row.values()))


def describe(run: TrainingRun, state: TrainState, row: Mapping[str, int]) -> dict[str, Any]:
    """One entry of ``not_finite.json``."""
    position = state.epoch + state.step_in_epoch / run.sampler.steps_per_epoch
    return {
        "epoch": state.epoch,
        "step": state.step,
        "steps_in_a_row": 0 if WEIGHTS in row else length(state, row),
        "not_finite": dict(row),
        "teacher": run.teacher_name if NAMES[TEACHER] in row else None,
        "images": image_names(run, state.suspects),
        "rates": run.rates_at(state, position),
        "factor": state.rate_factor,
    }


def report(run: TrainingRun, events: list[dict[str, Any]]) -> dict[str, Any]:
    """All of ``not_finite.json``."""
    stopped = bool(events) and events[-1]["back_to"] is None
    return {"format": FORMAT, "run": run.name, "stopped": stopped, "events": events}
