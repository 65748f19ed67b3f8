"""The same experiment at another length."""

from __future__ import annotations

from typing import Any

from snowmelt.config import ExperimentConfig, with_values


def with_epochs(config: ExperimentConfig, epochs: int) -> ExperimentConfig:
    """``config`` with so many epochs, in which whatever counts in epochs keeps its share of the run.

    That is the thaw's start and pace, warm-ups and milestones. Patience is left as it is: how long a score may stand
    still has to do with its noise, not with the length of the run.
    """
    before = config.training.epochs
    if epochs == before:
        return config
    share, last = epochs / before, (epochs - 1) / max(before - 1, 1)

    def moved(milestones: dict[int, float]) -> dict[int, float]:
        return {round(epoch * last): value for epoch, value in milestones.items()}

    values: dict[str, Any] = {
        "training": {"epochs": epochs},
        "thaw": {"start": round(config.thaw.start * share), "every": max(1, round(config.thaw.every * share))},
        "optimizer": {"warmup": config.optimizer.warmup * share},
        "reactions": {"block_warmup": config.reactions.block_warmup * share},
    }
    if config.temperature.kind == "piecewise":
        values["temperature"] = {"milestones": moved(config.temperature.milestones)}
    distillation: dict[str, Any] = {}
    piecewise = {name: each for name, each in config.distillation.weight_schedules.items() if each.kind == "piecewise"}
    if piecewise:
        schedules = {name: {"milestones": moved(each.milestones)} for name, each in piecewise.items()}
        distillation["weight_schedules"] = schedules
    if config.distillation.adaptive:
        distillation["adaptive_epochs"] = max(1, round(config.distillation.adaptive_epochs * share))
    if distillation:
        values["distillation"] = distillation
    return with_values(config, values)
