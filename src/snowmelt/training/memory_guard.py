"""The memory that the stages of a run will need, found out before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from snowmelt.errors import SnowmeltError
from snowmelt.training.events import Message
from snowmelt.training.memory import MIB, memory_room, reset_peak
from snowmelt.training.out_of_memory import clear_away, first_words, is_out_of_memory, stop_all, unchanged
from snowmelt.training.run import TrainingRun
from snowmelt.training.state import TrainState
from snowmelt.training.trial import Trial, trying

Measure = Callable[[int, int], float]
"""(thawed blocks, images at a time) -> bytes at the peak of a step."""


@dataclass(frozen=True)
class Need:
    """What one stage was seen to need: ``size`` bytes, infinite where it could not be had."""

    thawed: int
    first_epoch: int
    micro_batch: int
    size: float


@dataclass(frozen=True)
class Survey:
    """Stages in rising order, each at the micro-batch at which all before it fitted; halved where it did not fit."""

    needs: tuple[Need, ...]
    limit: float

    @property
    def too_large(self) -> Need | None:
        """The first stage that did not fit, as it was first tried."""
        return next((need for need in self.needs if need.size > self.limit), None)

    @property
    def micro_batch(self) -> int | None:
        """At which every stage fits; ``None`` where none was found."""
        last = self.needs[-1]
        return last.micro_batch if last.size <= self.limit else None

    @property
    def most_blocks(self) -> int | None:
        """The greatest number of thawed blocks that fits at the first micro-batch; ``None``: not even the first."""
        first = self.needs[0].micro_batch
        fits = [need.thawed for need in self.needs if need.size <= self.limit and need.micro_batch == first]
        return max(fits, default=None)

    @property
    def widest(self) -> Need | None:
        """What fits with most thawed blocks, and of those with most images at a time."""
        fits = [need for need in self.needs if need.size <= self.limit]
        return max(fits, key=lambda need: (need.thawed, need.micro_batch), default=None)


def guard_memory(run: TrainingRun, state: TrainState) -> None:
    """Try every stage that the plan still brings, and react where one needs more than there is.

    All processes decide alike: by the greatest need and the least room among them. A resumed run looks again, and only
    ever takes smaller micro-batches or fewer blocks than its state says, never larger or more.

    Raises:
        SnowmeltError: the run is refused.
    """
    mode = run.options.memory
    stages = coming_stages(run, state)
    if mode == "off" or not stages:
        return
    [most] = run.engine.largest(-float(run.options.memory_limit or memory_room(run.engine.device)))
    limit = -most
    falls = reset_peak(run.engine.device)
    size = state.micro_batch or run.options.batch_size
    with trying(run) as trial:
        survey = survey_stages(stages, size, limit, lambda *stage: measure(run, trial, *stage), mode != "delay", falls)
    run.announcer.tell(Message(describe(survey)))
    if survey.too_large is not None:
        react(run, state, survey)


def coming_stages(run: TrainingRun, state: TrainState) -> dict[int, int]:
    """Thawed blocks of each stage from the state's epoch on -> its first epoch.

    Those after ``max_steps`` too: a run that goes on from there has to be the one that was never cut.
    """
    stages: dict[int, int] = {}
    for epoch in range(state.epoch, run.schedules.epochs):
        stages.setdefault(run.thawed_at(replace(state, epoch=epoch)), epoch)
    return stages


def survey_stages(
    stages: Mapping[int, int], micro_batch: int, limit: float, measure: Measure, split: bool, falls: bool = True
) -> Survey:
    """Measure the stages in rising order until one does not fit; with ``split`` halve the micro-batch until it does.

    Rising, since a CPU's machine has no error to give for memory that is not there: it ends the process. So no stage is
    tried that a smaller one has ruled out.

    Args:
        falls: whether a peak can be forgotten. Where it cannot, no smaller one is ever seen after a larger one, so with
            ``split`` micro-batches of the last stage are tried from 1 image up.
    """
    needs: list[Need] = []

    def fits(thawed: int) -> bool:
        needs.append(Need(thawed, stages[thawed], micro_batch, measure(thawed, micro_batch)))
        return needs[-1].size <= limit

    if split and not falls:
        return _survey_rising(stages, micro_batch, limit, measure)
    for thawed in sorted(stages):
        while not fits(thawed):
            if not split or micro_batch == 1:
                return Survey(tuple(needs), limit)
            micro_batch //= 2
    return Survey(tuple(needs), limit)


def _survey_rising(stages: Mapping[int, int], micro_batch: int, limit: float, measure: Measure) -> Survey:
    thawed, sizes, needs = max(stages), [micro_batch], []
    while sizes[0] > 1:
        sizes.insert(0, sizes[0] // 2)
    for size in sizes:
        needs.append(Need(thawed, stages[thawed], size, measure(thawed, size)))
        if needs[-1].size > limit:
            break
    tried = needs[:-3:-1] if needs[-1].size > limit else needs[-1:]  # what was too much, and what still fitted
    return Survey(tuple(tried), limit)


def measure(run: TrainingRun, trial: Trial, thawed: int, micro_batch: int) -> float:
    """Bytes at the peak of a step; infinite where they could not be had.

    Raises:
        SnowmeltError: they could not be had in one of several processes.
    """
    try:
        return trial.cost(thawed, 1, micro_batch).peak_bytes
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        words = first_words(error)
    clear_away(run)
    if run.engine.world_size > 1:
        reason = f"{_blocks(thawed)} with {micro_batch} images at a time: out of memory before training ({words})"
        stop_all(run, reason, max(1, micro_batch // 2))
    return math.inf


def react(run: TrainingRun, state: TrainState, survey: Survey) -> None:
    """Refuse, split or delay.

    Raises:
        SnowmeltError: the run is refused.
    """
    mode, need, half, most = run.options.memory, survey.too_large, survey.micro_batch, survey.most_blocks
    assert need is not None
    told = (
        f"reactions.memory={mode}: {_blocks(need.thawed)} (from epoch {need.first_epoch} on) and {need.micro_batch} "
        f"images at a time need {_mib(need.size)}, and there are {_mib(survey.limit)}"
    )
    if mode == "split" and half is not None:
        state.micro_batch = half
        told += f": batches are computed in micro-batches of {half}; {unchanged(run, half)}"
    elif mode == "delay" and most is not None:
        state.thaw_cap = most
        told += f": no more than {_blocks(most)} for this run"
    else:
        images = run.options.batch_size * run.options.accumulate
        raise SnowmeltError(f"{told}; {ways_out(survey, images, under_way=state.step > 0)}", code="memory-does-not-fit")
    run.announcer.tell(Message(told, "warning"))


def ways_out(survey: Survey, images: int, under_way: bool) -> str:
    """What would fit, by what was measured.

    Args:
        images: of the effective batch, which smaller batches keep by accumulating.
        under_way: the run has steps behind it, so only what a resume takes can help it.
    """
    size, most, widest = survey.micro_batch, survey.most_blocks, survey.widest
    if under_way:
        ways = ["--set reactions.memory=split"] if size is not None else []
        ways += ["--set reactions.memory=delay"] if most is not None else []
        otherwise = "resume it where there is more memory, or begin another run with"
    else:
        ways = [] if size is None else [_smaller_batch(size, images), "--set reactions.memory=split"]
        ways += [] if most is None else [f"--set thaw.most={most}"]
        otherwise = "use"
    if ways:
        return "what fits: " + ", or ".join(ways)
    if widest is not None:
        fits = f"{_smaller_batch(widest.micro_batch, images)} --set thaw.most={widest.thawed}"
        return f"no micro-batch fits every stage; {otherwise} {fits}"
    return f"not even one image at a time fits; {otherwise} a smaller data.image_size or a smaller network"


def _smaller_batch(size: int, images: int) -> str:
    accumulate = f" --set training.accumulate={images // size}" if images % size == 0 else ""
    return f"--set training.batch_size={size}{accumulate}"


def describe(survey: Survey) -> str:
    """A table of what was measured."""
    rows = [("thawed blocks", "from epoch", "images at a time", "MiB")]
    rows += [
        (str(need.thawed), str(need.first_epoch), str(need.micro_batch), _mib(need.size).removesuffix(" MiB"))
        for need in survey.needs
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([f"memory of a step by stage; there are {_mib(survey.limit)}", *lines])


def _blocks(count: int) -> str:
    return "1 thawed block" if count == 1 else f"{count} thawed blocks"


def _mib(size: float) -> str:
    return f"{math.ceil(size / MIB)} MiB" if math.isfinite(size) else "more than there is"
