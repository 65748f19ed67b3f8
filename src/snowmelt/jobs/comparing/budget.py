"""Equal seconds: how many epochs each arm gets, found out by trying its stages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from snowmelt.build import digest_of, identity_of, make_plan_of, make_run, output_channels
from snowmelt.config import ExperimentConfig
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.preparing import ReadyArm
from snowmelt.jobs.comparing.scaling import with_epochs
from snowmelt.jobs.comparing.teachers import Taught
from snowmelt.reporting import replace_file
from snowmelt.training import try_stages

STEPS = 8  # timed in each stage; a few percent of noise are an epoch or two of fifty

Costs = Mapping[int, float]
"""Seconds of an epoch's training steps by the number of thawed blocks."""


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
        costs = epoch_costs(ready[name], taught)
        if name != base:
            config = with_epochs(config, epochs_within(budgets[base].seconds, ready[name], costs))
        stages = stages_of(ready[name], config)
        first, last = cost_of(costs, stages[0]), cost_of(costs, stages[-1])
        seconds = run_seconds(ready[name], config, costs)
        budgets[name] = ArmBudget(name, config.training.epochs, first, last, seconds, settings[name])
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


def epoch_costs(ready: ReadyArm, taught: Taught) -> Costs:
    """What an epoch of each stage of the plan costs, by real steps; the same in all processes."""
    ready.session.say(f"budget: trying the stages of {ready.name}")
    unused = ready.config.output / "trial"  # nothing is saved while stages are tried
    teaching = taught.teachings.get(ready.name)
    run = make_run(ready.config, ready.session.splits, ready.session.engine, unused, teaching=teaching)
    try:
        tried = try_stages(run, sorted(set(stages_of(ready, ready.config))), steps=STEPS)
    finally:
        if run.features is not None:
            run.features.close()
    return {blocks: cost.seconds * run.sampler.steps_per_epoch for blocks, cost in tried.items()}


def stages_of(ready: ReadyArm, config: ExperimentConfig) -> list[int]:
    """Thawed blocks in each epoch."""
    plan = make_plan_of(config, output_channels(ready.session.splits.classes))
    return [epoch.thawed_blocks for epoch in plan.epochs]


def cost_of(costs: Costs, blocks: int) -> float:
    """What was measured for this stage, or for the next smaller one where rounding has brought in another."""
    return costs[max((tried for tried in costs if tried <= blocks), default=min(costs))]


def run_seconds(ready: ReadyArm, config: ExperimentConfig, costs: Costs) -> float:
    """Predicted for all training steps of a run; scoring is not part of it."""
    return sum(cost_of(costs, blocks) for blocks in stages_of(ready, config))


def epochs_within(limit: float, ready: ReadyArm, costs: Costs) -> int:
    """The most epochs, at least 1, whose steps take no longer than ``limit``, schedules scaled along."""
    epochs = ready.config.training.epochs

    def fits(count: int) -> bool:
        return run_seconds(ready, with_epochs(ready.config, count), costs) <= limit

    # A first guess in proportion; from there it is a few epochs, since rounding moves the thaw by half of one.
    count = max(1, round(epochs * limit / run_seconds(ready, ready.config, costs)))
    while count > 1 and not fits(count):
        count -= 1
    while fits(count + 1):
        count += 1
    return count


def _settings_of(ready: ReadyArm, base: ReadyArm) -> str:
    """Digest of the settings of an arm and of the base, whose seconds are the measure."""
    both: dict[str, Any] = {"arm": identity_of(ready.config), "base": identity_of(base.config)}
    return digest_of(both)
