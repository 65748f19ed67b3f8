from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from snowmelt.reporting import plan_csv, plan_table
from snowmelt.schedules import LearningRateSchedule, Plan, Schedules, ThawSchedule, make_plan

COUNTS = {"decoder": 2_244_241, **{f"blocks.{index}": 500_000 + index for index in range(7)}}


def rendered(plan: Plan, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(plan_table(plan))
    return console.file.getvalue().splitlines()


@pytest.fixture
def plan(fake_run: Callable) -> Plan:
    return make_plan(fake_run(epochs=50, start=10, every=5).schedules, COUNTS)


@pytest.mark.parametrize("width", [80, 120])
def test_reference_plan_on_a_terminal(plan: Plan, width: int) -> None:
    lines = rendered(plan, width)
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for cell in ("0-9", "10-14", "40-49", "4.00 -> 3.70", "decoder", "+ blocks.6", "+ blocks.1", "2,244,241"):
        assert cell in text
    assert "everything" in text
    assert "included" in text
    assert "+ blocks.0" not in text
    assert "…" not in text  # nothing was cut off
    first = next(line for line in lines if line.strip().startswith("0-9"))
    assert first.split()[-3:] == ["1.00e-03", "-", "2,244,241"]
    last = next(line for line in lines if line.strip().startswith("40-49"))
    assert last.split()[-1] == f"{sum(COUNTS.values()):,}"
    assert last.split()[-2] == "1.00e-04"


def test_one_line_a_stage_where_there_is_room(plan: Plan) -> None:
    assert sum(line.strip()[:1].isdigit() for line in rendered(plan, 120)) == 8


def test_without_a_teacher_no_temperature(fake_run: Callable) -> None:
    text = "\n".join(rendered(make_plan(fake_run(teacher=False).schedules), 80))
    assert "->" not in text
    assert "parameters" not in text  # and none where they are not counted


def test_everything_from_the_start() -> None:
    schedules = Schedules(3, 1e-3, ("b1", "b0"), ThawSchedule(progressive=False), LearningRateSchedule())
    lines = rendered(make_plan(schedules), 80)
    assert sum("everything, stem included" in line for line in lines) == 1


def test_several_blocks_at_once_and_never_all() -> None:
    schedules = Schedules(3, 1e-3, ("b2", "b1", "b0"), ThawSchedule(progressive=False, most=2), LearningRateSchedule())
    assert any("decoder, b2, b1" in line for line in rendered(make_plan(schedules), 80))


def test_plan_csv_round_trip(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(plan_csv(plan))))
    assert len(rows) == 50
    for row, epoch in zip(rows, plan.epochs, strict=True):
        assert int(row["epoch"]) == epoch.epoch
        assert float(row["temperature"]) == epoch.temperature
        assert int(row["thawed_blocks"]) == epoch.thawed_blocks
        assert {name: float(row[f"lr/{name}"]) for name in epoch.learning_rates} == epoch.learning_rates
