"""``snowmelt plan``: the stage table before anything trains."""

from __future__ import annotations

import json

from rich.console import Console

from snowmelt.build import make_plan_of, open_data, output_channels, settle
from snowmelt.config import ExperimentConfig
from snowmelt.reporting import plan_csv, plan_table, weights_table
from snowmelt.schedules import Plan


def plan_experiment(config: ExperimentConfig, form: str = "table") -> None:
    """Print the plan of ``config`` as ``table``, ``json`` or ``csv``.

    The data is opened for its number of images and classes, not read.
    """
    splits = open_data(config)
    settled, notes = settle(config, len(splits.train), len(splits.classes))
    plan = make_plan_of(settled, output_channels(splits.classes))
    if form == "json":
        print(json.dumps(plan.to_dict(), indent=2))
    elif form == "csv":
        print(plan_csv(plan), end="")
    else:
        console = Console()
        console.print(plan_table(plan, title=settled.name))
        weights = weights_table(plan)
        if weights is not None:
            console.print("Weights of the losses, at each stage's first epoch and at the last:", highlight=False)
            console.print(weights)
        for note in (*notes, *explain_plan(settled, plan), *explain_reactions(settled, plan)):
            console.print(note, soft_wrap=True, highlight=False)


def explain_plan(config: ExperimentConfig, plan: Plan) -> list[str]:
    """What the table's learning rates mean, and what the run will not come to, in a line each."""
    optimizer = config.optimizer
    text = f"Over the run every rate follows '{optimizer.schedule}'"
    if optimizer.schedule == "trapezoid":
        start = round(config.training.epochs * (1 - optimizer.cooldown))
        text += f": warm-up, constant, and from epoch {start} down to {optimizer.floor:g} of it"
    lines = [text + "."]
    if config.thaw.norm_eval:
        lines.append("Batch norms of the encoder keep the statistics that they come with (thaw.norm_eval).")
    if config.training.average is not None:
        lines.append(f"Scores are those of an average of the weights (training.average {config.training.average:g}).")
    blocks = len(plan.epochs[0].learning_rates) - 1
    wanted = blocks if config.thaw.most is None else min(config.thaw.most, blocks)
    thawed = plan.epochs[-1].thawed_blocks
    if thawed == 0 < wanted:
        lines.append(
            f"Nothing thaws: the first thaw is at epoch {config.thaw.start}, and the run has {config.training.epochs}."
        )
    elif thawed < wanted:
        what = "the whole encoder learns" if wanted == blocks else f"{wanted} blocks learn"
        lines.append(f"The run ends before {what}; more epochs or a smaller thaw.every change that.")
    return lines


def explain_reactions(config: ExperimentConfig, plan: Plan) -> list[str]:
    """What may turn out otherwise than the table says, depending on what training shows, in a line each."""
    reactions, lines = config.reactions, []
    if any(stage.conditional for stage in plan.stages):
        causes = []
        if reactions.thaw_guard:
            causes.append("while validation loss rises and training loss falls (reactions.thaw_guard)")
        if reactions.memory == "delay":
            causes.append("where memory does not suffice for it (reactions.memory)")
        lines.append(f"* begins later, or never, {' and '.join(causes)}.")
    if reactions.block_warmup and len(plan.stages) > 1:
        span = "1 epoch" if reactions.block_warmup == 1 else f"{reactions.block_warmup:g} epochs"
        lines.append(f"A block that thaws reaches its rate over {span} (reactions.block_warmup).")
    patience = config.training.patience
    if patience is not None and (soonest := plan.stages[-1].first_epoch + patience) < config.training.epochs - 1:
        lines.append(
            f"The run may end after epoch {soonest} or a later one, when {patience} epochs have brought no better "
            "score (training.patience)."
        )
    return lines
