"""The plan of the published experiments, epoch by epoch, from their settings alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tiny_experiments import BLOCKS, tiny

from snowmelt.build import make_network, make_plan_of, make_schedules, parameter_counts
from snowmelt.build.plan import TERMS, scheduled_weights
from snowmelt.config import with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.losses import DISTILLATION_TERMS
from snowmelt.models import Thaw
from snowmelt.schedules import Plan

# (first epoch, last epoch, thawed blocks), as published for 50 epochs
PUBLISHED_THAW = [
    *((0, 9, 0), (10, 14, 1), (15, 19, 2), (20, 24, 3)),
    *((25, 29, 4), (30, 34, 5), (35, 39, 6), (40, 49, 7)),
]
PUBLISHED_TEMPERATURES = {0: 4.0, 10: 3.5, 15: 3.0, 20: 2.5, 25: 2.0, 30: 1.5, 35: 1.3, 40: 1.1, 49: 1.0}


@pytest.fixture(scope="module")
def reference() -> Plan:
    return make_plan_of(ConfigManager.get_config(REFERENCE))


def test_the_thaw_column_of_the_reference_is_the_published_one(reference: Plan) -> None:
    column = [row.thawed_blocks for row in reference.epochs]
    assert column == [blocks for first, last, blocks in PUBLISHED_THAW for _ in range(first, last + 1)]
    stages = [(stage.first_epoch, stage.last_epoch, stage.thawed_blocks) for stage in reference.stages]
    assert stages == PUBLISHED_THAW


def test_the_temperatures_of_the_reference_are_the_cosine(reference: Plan) -> None:
    column = [row.temperature for row in reference.epochs]
    closed = [1.0 + 3.0 * (1 + math.cos(math.pi * epoch / 49)) / 2 for epoch in range(50)]
    assert column == pytest.approx(closed, abs=1e-12)
    assert (column[0], column[49]) == (4.0, 1.0)
    assert column[30] == pytest.approx(1.98, abs=0.005)  # and not the published 1.5


def test_a_stage_cools_to_where_the_next_begins(reference: Plan) -> None:
    column = [row.temperature for row in reference.epochs]
    for stage in reference.stages:
        assert stage.temperature_from == column[stage.first_epoch]
        assert stage.temperature_to == column[min(stage.last_epoch + 1, 49)]


def test_the_piecewise_experiment_gives_the_published_temperatures() -> None:
    plan = make_plan_of(ConfigManager.get_config("published_temperatures"))
    column = [row.temperature for row in plan.epochs]
    assert {epoch: column[epoch] for epoch in PUBLISHED_TEMPERATURES} == PUBLISHED_TEMPERATURES
    assert column[5] == pytest.approx(3.75)
    assert column[47] == pytest.approx(1.1 - 0.1 * 7 / 9)
    assert [row.thawed_blocks for row in plan.epochs][-1] == 7
    assert [stage.temperature_from for stage in plan.stages] == [4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.3, 1.1]
    assert [stage.temperature_to for stage in plan.stages] == [3.5, 3.0, 2.5, 2.0, 1.5, 1.3, 1.1, 1.0]


@pytest.mark.parametrize(
    ("kind", "closed"),
    [
        ("linear", lambda p: 5.0 - 4.5 * p),
        ("exponential", lambda p: 5.0 * 0.1**p),
        ("constant", lambda p: 5.0),
    ],
)
def test_other_kinds_keep_the_thaw_column(kind: str, closed: object, reference: Plan) -> None:
    settings = {"temperature": {"kind": kind, "initial": 5.0, "final": 0.5}}
    plan = make_plan_of(with_values(ConfigManager.get_config(REFERENCE), settings))
    expected = [closed(epoch / 49) for epoch in range(50)]  # type: ignore[operator]
    assert [row.temperature for row in plan.epochs] == pytest.approx(expected, abs=1e-12)
    assert [row.thawed_blocks for row in plan.epochs] == [row.thawed_blocks for row in reference.epochs]


def test_the_encoder_learns_at_its_share_of_the_rate(reference: Plan) -> None:
    for row in reference.epochs:
        decoder = row.learning_rates["decoder"]
        assert len(row.learning_rates) == 8
        assert all(
            rate == pytest.approx(0.1 * decoder) for name, rate in row.learning_rates.items() if name != "decoder"
        )
    # The default's answer to late thaws: in epoch 40 of 50 the rate is still the full one.
    assert reference.epochs[40].learning_rates["decoder"] == pytest.approx(1e-3)


def test_trainable_parameters_are_those_that_thaw_frees(reference: Plan) -> None:
    config = ConfigManager.get_config(REFERENCE)
    thaw = Thaw(make_network(config.student, 1, seed=0, with_weights=False).network, lr_scale=0.1)
    for stage in reference.stages:
        thaw.to(stage.thawed_blocks)
        assert stage.trainable_parameters == thaw.trainable_count()
        assert stage.learns == ("decoder", *thaw.blocks[: stage.thawed_blocks])
    counts = parameter_counts(thaw)
    assert sum(counts.values()) == reference.stages[-1].trainable_parameters
    assert list(counts) == ["decoder", *thaw.blocks]


@pytest.mark.parametrize(("most", "last"), [(None, BLOCKS), (0, 0), (2, 2), (99, BLOCKS)])
def test_most_ends_the_thaw(most: int | None, last: int, tmp_path: Path) -> None:
    config = tiny(tmp_path, "thawed", thaw={"start": 1, "every": 1, "most": most}, training={"epochs": 10})
    assert [row.thawed_blocks for row in make_plan_of(config).epochs] == [min(epoch, last) for epoch in range(10)]


def test_a_run_without_a_teacher_has_no_temperature(tmp_path: Path) -> None:
    for values in ({"distillation": {"enabled": False}}, {"teacher": {"source": "none"}}):
        plan = make_plan_of(tiny(tmp_path, **values))
        assert {row.temperature for row in plan.epochs} == {None}
        assert {stage.temperature_from for stage in plan.stages} == {None}


def test_classes_make_a_larger_head_and_nothing_else(tmp_path: Path) -> None:
    config = tiny(tmp_path)
    one, six = (make_plan_of(config, channels).stages[0].trainable_parameters for channels in (1, 6))
    assert one is not None
    assert six is not None
    assert six - one == 5 * (8 * 9 + 1)  # a 3 x 3 kernel over 8 channels and a bias, for each class more


def test_schedules_are_built_from_the_settings(tmp_path: Path) -> None:
    config = tiny(tmp_path, optimizer={"lr": 0.5, "schedule": "constant", "warmup": 0}, thaw={"lr_scale": 0.25})
    schedules = make_schedules(config, ("deep", "shallow"))
    assert schedules.learning_rates_at(1.5) == {"decoder": 0.5, "deep": 0.125, "shallow": 0.125}
    assert schedules.epochs == config.training.epochs


def test_every_weight_of_the_settings_is_a_loss_by_its_name() -> None:
    assert dict(TERMS) == {
        "kl_weight": "kl",
        "mse_weight": "logit_mse",
        "cwd_weight": "cwd",
        "dist_inter_weight": "dist_inter",
        "dist_intra_weight": "dist_intra",
        "feature_weight": "feature",
    }
    assert set(TERMS.values()) == {*DISTILLATION_TERMS, "feature"}


def test_scheduled_weights_go_by_the_names_of_the_losses(tmp_path: Path) -> None:
    moving = {"initial": 0.0, "final": 1.0}
    schedules = {name: moving for name in ("alpha", "mse_weight", "dice_weight")}
    config = tiny(tmp_path, distillation={"weight_schedules": schedules})
    assert list(scheduled_weights(config)) == ["alpha", "logit_mse", "dice"]
    assert make_schedules(config, ()).weights_at(config.training.epochs - 1) == dict.fromkeys(
        ("alpha", "logit_mse", "dice"), 1.0
    )
    plain = with_values(config, {"distillation": {"enabled": False}})
    assert list(scheduled_weights(plain)) == ["dice"]  # the others would weigh nothing
