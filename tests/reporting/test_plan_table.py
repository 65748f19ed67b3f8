from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from rich.console import Console

from snowmelt.reporting import plan_csv, plan_table, weights_table
from snowmelt.schedules import LearningRateSchedule, Plan, Schedules, ThawSchedule, WeightSchedule, make_plan

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


def test_a_conditional_stage_has_a_star(fake_run: Callable) -> None:
    schedules = fake_run(epochs=50, start=10, every=5).schedules
    rows = [line.split()[0] for line in rendered(make_plan(schedules, COUNTS, conditional=True), 80) if "->" in line]
    assert rows[1:] == ["0-9", "10-14*", "15-19*", "20-24*", "25-29*", "30-34*", "35-39*", "40-49*"]
    assert plan_csv(make_plan(schedules, COUNTS, conditional=True)) == plan_csv(make_plan(schedules, COUNTS))


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


def test_weights_that_move_have_a_table_that_fits(fake_run: Callable) -> None:
    names = ("alpha", "kl", "logit_mse", "cwd", "dist_inter", "dist_intra", "feature", "ce", "dice")
    weights = {name: WeightSchedule("linear", 0.855, 0.15) for name in names}
    plan = make_plan(fake_run(epochs=50, start=10, every=5, weights=weights).schedules)
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(weights_table(plan))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines) and "…" not in "".join(lines)
    assert next(line.split() for line in lines if "epoch" in line) == ["epoch", *names]
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()[:1].isdigit()}
    assert list(rows) == ["0", "10", "15", "20", "25", "30", "35", "40", "49"]
    assert rows["0"] == ["0.855"] * 9 and rows["49"] == ["0.15"] * 9
    assert rows["25"] == [f"{plan.epochs[25].weights['kl']:.3g}"] * 9


def test_without_schedules_no_table_of_weights(plan: Plan) -> None:
    assert weights_table(plan) is None


def test_weights_as_csv(fake_run: Callable) -> None:
    schedule = WeightSchedule("cosine", 0.8, 0.2)
    text = plan_csv(make_plan(fake_run(weights={"alpha": schedule, "cwd": schedule}).schedules))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert list(rows[0])[:5] == ["epoch", "temperature", "weights/alpha", "weights/cwd", "thawed_blocks"]
    assert [float(row["weights/cwd"]) for row in rows] == [schedule.at(epoch, 6) for epoch in range(6)]
