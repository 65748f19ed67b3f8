"""The plan for a person: one row a stage on the screen, the weights that move; one row an epoch as CSV."""

from __future__ import annotations

from rich import box
from rich.table import Table

from snowmelt.reporting.csv_cells import csv_text
from snowmelt.schedules import DECODER, Plan, PlanStage

EVERYTHING = "everything, stem included"


def plan_csv(plan: Plan) -> str:
    """One row an epoch: epoch, temperature, weights/<name>..., thawed_blocks, lr/<group>..., with exact numbers.

    Columns and cells are those of metrics.csv, so that plan and run can be compared as text.
    """
    groups = list(plan.epochs[0].learning_rates)
    weights = [f"weights/{name}" for name in plan.epochs[0].weights]
    columns = ["epoch", "temperature", *weights, "thawed_blocks", *(f"lr/{group}" for group in groups)]
    rows = [
        {
            "epoch": row.epoch,
            "temperature": None if row.temperature is None else float(row.temperature),
            **{f"weights/{name}": float(value) for name, value in row.weights.items()},
            "thawed_blocks": row.thawed_blocks,
            **{f"lr/{group}": float(rate) for group, rate in row.learning_rates.items()},
        }
        for row in plan.epochs
    ]
    return csv_text(columns, rows)


def plan_table(plan: Plan, title: str | None = None) -> Table:
    """The stages as a table that fits 80 columns: epochs, T, thawed, what learns, rates, trainable parameters.

    A run without a teacher has no temperature column. The rates are the highest of each stage: the first step's
    would show the warm-up, the last step's the cool-down. A conditional stage is marked by a star.
    """
    cooled = any(stage.temperature_from is not None for stage in plan.stages)
    counted = any(stage.trainable_parameters is not None for stage in plan.stages)
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), caption="lr: the highest in the stage")
    table.add_column("epochs", no_wrap=True)
    if cooled:
        table.add_column("T from -> to", no_wrap=True)
    table.add_column("thawed", justify="right", no_wrap=True)
    table.add_column("what learns", overflow="fold", min_width=12)
    table.add_column("lr decoder", justify="right", no_wrap=True)
    table.add_column("lr encoder", justify="right", no_wrap=True)
    if counted:
        table.add_column("parameters", justify="right", no_wrap=True)
    for index, stage in enumerate(plan.stages):
        previous = plan.stages[index - 1] if index else None
        cells = [f"{stage.epochs}*" if stage.conditional else stage.epochs]
        if cooled:
            cells.append(_temperatures(stage))
        cells += [str(stage.thawed_blocks), what_learns(plan, stage, previous), *_rates(plan, stage)]
        if counted:
            cells.append("" if stage.trainable_parameters is None else f"{stage.trainable_parameters:,}")
        table.add_row(*cells)
    return table


def weights_table(plan: Plan) -> Table | None:
    """The scheduled weights at the first epoch of each stage and at the last of all; ``None`` where none is scheduled.

    A table of its own: all nine weights beside each other leave no room in 80 columns for the stages' other figures.
    """
    names = list(plan.epochs[0].weights)
    if not names:
        return None
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("epoch", no_wrap=True)
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    shown = dict.fromkeys([*(stage.first_epoch for stage in plan.stages), plan.epochs[-1].epoch])
    for row in (plan.epochs[epoch] for epoch in shown):
        table.add_row(str(row.epoch), *(f"{row.weights[name]:.3g}" for name in names))
    return table


def what_learns(plan: Plan, stage: PlanStage, previous: PlanStage | None) -> str:
    """``decoder``; ``+ blocks.6`` for what a stage adds; the whole network by name once all blocks are thawed."""
    blocks = len(plan.epochs[0].learning_rates) - 1
    if blocks and stage.thawed_blocks == blocks:
        return EVERYTHING
    if previous is None:
        return ", ".join(stage.learns)
    return "+ " + ", ".join(name for name in stage.learns if name not in previous.learns)


def _temperatures(stage: PlanStage) -> str:
    if stage.temperature_from is None or stage.temperature_to is None:
        return "-"
    return f"{stage.temperature_from:.2f} -> {stage.temperature_to:.2f}"


def _rates(plan: Plan, stage: PlanStage) -> tuple[str, str]:
    epochs = [row for row in plan.epochs if stage.first_epoch <= row.epoch <= stage.last_epoch]
    decoder = max(row.learning_rates[DECODER] for row in epochs)
    encoder = [row.learning_rates[name] for row in epochs for name in stage.learns if name != DECODER]
    return f"{decoder:.2e}", f"{max(encoder):.2e}" if encoder else "-"
