"""The plan of an experiment, before any data is read."""

from __future__ import annotations

from snowmelt.build.networks import make_network
from snowmelt.config import ExperimentConfig
from snowmelt.config.teaching import TASK_WEIGHTS, distillation_weights
from snowmelt.models import Thaw
from snowmelt.schedules import ALPHA, Plan, Schedules, WeightSchedule, make_plan

# The settings' name of a weight -> what the objective calls it.
TERMS = {name: name.removesuffix("_weight") for name in distillation_weights()} | {"mse_weight": "logit_mse"}
NAMES = {**TERMS, "alpha": ALPHA, **{name: name.removesuffix("_weight") for name in TASK_WEIGHTS}}


def scheduled_weights(config: ExperimentConfig) -> dict[str, WeightSchedule]:
    """The schedules of weights by the objective's names; those of distillation only where there is a teacher."""
    return {
        NAMES[name]: given.schedule()
        for name, given in config.distillation.weight_schedules.items()
        if config.distills or name in TASK_WEIGHTS
    }


def make_schedules(config: ExperimentConfig, blocks: tuple[str, ...]) -> Schedules:
    """The run's schedules over the student's blocks."""
    return Schedules(
        epochs=config.training.epochs,
        base_lr=config.optimizer.lr,
        blocks=blocks,
        thaw=config.thaw.schedule(),
        learning_rate=config.optimizer.rate_schedule(),
        temperature=config.temperature.schedule() if config.distills else None,
        weights=scheduled_weights(config),
    )


def make_plan_of(config: ExperimentConfig, channels: int = 1) -> Plan:
    """The plan of an experiment, from its settings and the student's blocks alone."""
    built = make_network(config.student, channels, config.seed, with_weights=False)
    thaw = Thaw(built.network, lr_scale=config.thaw.lr_scale, norm_eval=config.thaw.norm_eval)
    reactions = config.reactions
    delayed = reactions.thaw_guard or reactions.memory == "delay"
    return make_plan(make_schedules(config, thaw.blocks), parameter_counts(thaw), conditional=delayed)


def parameter_counts(thaw: Thaw) -> dict[str, int]:
    """Parameters of every optimizer group by name."""
    groups = thaw.param_groups(lr=1.0, weight_decay=0.0)
    return {group["name"]: sum(parameter.numel() for parameter in group["params"]) for group in groups}
