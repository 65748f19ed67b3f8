"""Equal seconds: how many epochs each arm gets, found out by trying its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from snowmelt.build import digest_of, identity_of, make_run
from snowmelt.config import ExperimentConfig
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.preparing import ReadyArm
from snowmelt.jobs.comparing.scaling import with_epochs
from snowmelt.jobs.comparing.teachers import Taught
from snowmelt.reporting import replace_file
from snowmelt.training import try_stages

STEPS = 8  # timed in each stage; a few percent of noise are an epoch or two of fifty


@dataclass(frozen=True)
class StageTimes:
    """Seconds of an epoch's training steps by the number of thawed blocks, of an encoder with ``blocks`` in all."""

    seconds: Mapping[int, float]
    blocks: int

    def stages(self, config: ExperimentConfig) -> list[int]:
        """Thawed blocks in each epoch."""
        schedule = config.thaw.schedule()
        return [schedule.blocks_at(epoch, self.blocks) for epoch in range(config.training.epochs)]

    def epoch(self, thawed: int) -> float:
        """What was measured for this stage, or for the next smaller one where rounding has brought in another."""
        return self.seconds[max((tried for tried in self.seconds if tried <= thawed), default=min(self.seconds))]

    def run(self, config: ExperimentConfig) -> float:
        """Predicted for all training steps of a run; scoring is not part of it."""
        return sum(self.epoch(thawed) for thawed in self.stages(config))


@dataclass(frozen=True)
class ArmBudget:
    """Epochs of an arm, and what was measured for it.

    Attributes:
        first_epoch, last_epoch: seconds of the training steps of an epoch in the first and in the last stage.
        seconds: predicted for the training steps of all epochs.
        settings: tells the settings that it was measured with.
    """

    arm: str
    epochs: int
    first_epoch: float
    last_epoch: float
    seconds: float
    settings: str


def find_budgets(taught: Taught, base: str, folder: CompareFolder) -> dict[str, ArmBudget]:
    """Epochs that fit into the seconds of the base's training, arm by arm.

    What was decided for these settings before is kept, so that a comparison goes on with the epochs it began with.
    """
    ready = {each.name: each for each in taught.arms}
    settings = {name: _settings_of(each, ready[base]) for name, each in ready.items()}
    known = read_budgets(folder)
    budgets = {name: known[name] for name in ready if name in known and known[name].settings == settings[name]}
    for name in dict.fromkeys((base, *ready)):
        if name in budgets:
            continue
        config = ready[name].config
        times = try_arm(ready[name], taught)
        if name != base:
            config = with_epochs(config, epochs_within(budgets[base].seconds, config, times))
        stages = times.stages(config)
        first, last = times.epoch(stages[0]), times.epoch(stages[-1])
        budgets[name] = ArmBudget(name, config.training.epochs, first, last, times.run(config), settings[name])
    session = ready[base].session
    if session.leads:
        folder.root.mkdir(parents=True, exist_ok=True)
        content = {name: asdict(budget) for name, budget in {**known, **budgets}.items()}
        replace_file(folder.budget_file, json.dumps(content, indent=2) + "\n")
    session.engine.barrier()
    return {name: budgets[name] for name in ready}


def read_budgets(folder: CompareFolder) -> dict[str, ArmBudget]:
    """What was decided before."""
    if not folder.budget_file.exists():
        return {}
    content = json.loads(folder.budget_file.read_text(encoding="utf-8"))
    return {name: ArmBudget(**values) for name, values in content.items()}


def try_arm(ready: ReadyArm, taught: Taught) -> StageTimes:
    """What an epoch of each stage of an arm takes, by real steps; the same in all processes."""
    ready.session.say(f"budget: trying the stages of {ready.name}")
    unused = ready.config.output / "trial"  # nothing is saved while stages are tried
    teaching = taught.teachings.get(ready.name)
    run = make_run(ready.config, ready.session.splits, ready.session.engine, unused, teaching=teaching)
    schedules = run.schedules
    stages = {schedules.thawed_at(epoch) for epoch in range(schedules.epochs)}
    try:
        tried = try_stages(run, sorted(stages), steps=STEPS)
    finally:
        if run.features is not None:
            run.features.close()
    steps = run.sampler.steps_per_epoch
    return StageTimes({thawed: cost.seconds * steps for thawed, cost in tried.items()}, len(schedules.blocks))


def epochs_within(limit: float, config: ExperimentConfig, times: StageTimes) -> int:
    """The most epochs, at least 1, whose steps take no longer than ``limit``, schedules scaled along."""

    def fits(count: int) -> bool:
        return times.run(with_epochs(config, count)) <= limit

    # A first guess in proportion; from there it is a few epochs, since rounding moves the thaw by half of one.
    count = max(1, round(config.training.epochs * limit / times.run(config)))
    while count > 1 and not fits(count):
        count -= 1
    while fits(count + 1):
        count += 1
    return count


def _settings_of(ready: ReadyArm, base: ReadyArm) -> str:
    """Digest of the settings of an arm and of the base, whose seconds are the measure."""
    both: dict[str, Any] = {"arm": identity_of(ready.config), "base": identity_of(base.config)}
    return digest_of(both)
