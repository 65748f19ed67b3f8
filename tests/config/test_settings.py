"""Settings are checked where they are made: one line, each wrong one by its dotted path, with the value given."""

from __future__ import annotations

import math
from typing import Any

import pytest

from snowmelt.config import (
    DistillationConfig,
    ExperimentConfig,
    NetworkConfig,
    Settings,
    TeacherConfig,
    TemperatureConfig,
    ThawConfig,
    TrainingConfig,
)
from snowmelt.errors import SnowmeltError

NAN, INFINITY = math.nan, math.inf


def nested(path: str, value: Any) -> dict[str, Any]:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


@pytest.mark.parametrize(
    "path",
    [
        *("bogus", "data.bogus", "student.bogus", "teacher.bogus", "teacher.network.bogus", "distillation.bogus"),
        *("temperature.bogus", "thaw.bogus", "optimizer.bogus", "task.bogus", "training.bogus"),
    ],
)
def test_an_unknown_name_is_refused_by_its_path(path: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(**nested(path, 1))
    assert str(refused.value) == f"{path}: there is no such setting"


@pytest.mark.parametrize(
    ("path", "near"),
    [
        *(("trainig", "training"), ("training.epoch", "epochs"), ("teacher.network.weight", "weights")),
        *(("distillation.kl_weigth", "kl_weight"), ("distillation.weight_schedules.alpha.inital", "initial")),
    ],
)
def test_the_nearest_name_is_told(path: str, near: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(**nested(path, 1))
    assert str(refused.value) == f"{path}: there is no such setting (did you mean {near!r}?)"


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("data.image_size", [0, 31, 100, -32, "big"]),
        ("data.val_fraction", [0, 1, -0.5, NAN]),
        ("data.augmentation", ["strong", None]),
        ("data.limit", [0, -1, 1.5]),
        ("data.workers", [-1]),
        ("data.seed", [-1, 2**63]),
        ("data.classes", ["person", 3]),
        ("student.depth", [2, 6]),
        ("student.decoder_channels", [[0], 16]),
        ("student.encoder", [None, 3]),
        ("teacher.network.depth", [2, 6]),
        ("teacher.epochs", [0]),
        ("teacher.patience", [0]),
        ("teacher.lr_scale", [0, -1, NAN, INFINITY]),
        ("distillation.alpha", [-0.1, 1.1, NAN]),
        ("distillation.kl_weight", [-1, INFINITY]),
        ("distillation.mse_weight", [-1, NAN]),
        ("temperature.kind", ["quadratic"]),
        ("thaw.norm_eval", ["maybe", 2, None]),
        ("optimizer.lr", [0, -1e-3, INFINITY, NAN, "fast"]),
        ("optimizer.weight_decay", [-1]),
        ("optimizer.schedule", ["step"]),
        ("optimizer.clip_norm", [0, -1]),
        ("task.ce_weight", [-1]),
        ("task.dice_weight", [NAN]),
        ("task.class_weights", [[1, -1], 3]),
        ("training.epochs", [0, -1, 1.5, None, "many"]),
        ("training.batch_size", [0]),
        ("training.accumulate", [0]),
        ("training.max_steps", [0]),
        ("training.device", ["tpu"]),
        ("training.precision", ["64", 64, True]),
        ("training.calibration_batches", [-1]),
        ("training.checkpoint_every", [0]),
        ("training.log_every", [0]),
        ("training.max_skipped", [0]),
        ("training.threads", [0]),
        ("seed", [-1, 2**63, 1.5]),
    ],
)
def test_a_value_out_of_range_is_refused_by_its_path(path: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(SnowmeltError) as refused:
            ExperimentConfig(**nested(path, value))
        text = str(refused.value)
        assert text.startswith(path), text
        assert "\n" not in text


@pytest.mark.parametrize(
    ("path", "values", "reason"),
    [
        ("temperature.initial", [0, -1, NAN, INFINITY], "initial temperature is"),
        ("temperature.final", [0, -1, NAN, INFINITY], "final temperature is"),
        ("temperature.milestones", [{0: 4.0}], "milestones belong to kind 'piecewise'"),
        ("temperature", [{"kind": "piecewise"}], "needs milestones"),
        ("temperature", [{"kind": "piecewise", "milestones": {-1: 4.0}}], "milestone epoch -1 is negative"),
        ("temperature", [{"kind": "piecewise", "milestones": {0: 0.0}}], "must be positive"),
        ("thaw.start", [-1], "first thaw epoch is -1"),
        ("thaw.every", [0], "epochs per block is 0"),
        ("thaw.lr_scale", [0, -1, NAN, INFINITY], "encoder learning-rate scale is"),
        ("thaw.most", [-1], "the most blocks to thaw is -1"),
        ("optimizer.warmup", [-1, NAN], "warm-up is"),
        ("optimizer.cooldown", [0, 1.1], "cool-down share is"),
        ("optimizer.floor", [-0.1, 1.1], "learning-rate floor is"),
    ],
)
def test_what_the_schedules_refuse_is_refused_here(path: str, values: list[Any], reason: str) -> None:
    for value in values:
        with pytest.raises(SnowmeltError) as refused:
            ExperimentConfig(**nested(path, value))
        text = str(refused.value)
        assert text.startswith(f"{path.split('.')[0]}: ")
        assert reason in text
        assert "\n" not in text


def test_every_mistake_is_named_in_the_one_line() -> None:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(
            data={"image_size": 7, "colour": True}, teacher={"network": {"depth": 9, "width": 1}}, epochs=3
        )
    assert str(refused.value) == (
        "data.image_size: Input should be a multiple of 32 (given 7); data.colour: there is no such setting; "
        "teacher.network.depth: Input should be less than or equal to 5 (given 9); "
        "teacher.network.width: there is no such setting; epochs: there is no such setting"
    )


def test_the_value_that_was_given_is_shown() -> None:
    with pytest.raises(SnowmeltError, match=r"training\.batch_size: .* \(given 'four'\)$"):
        ExperimentConfig(training={"batch_size": "four"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"distillation": {"kl_weight": 0}}, "distillation: kl_weight and all other weights are 0"),
        ({"task": {"ce_weight": 0, "dice_weight": 0}}, "task: ce_weight and dice_weight are both 0"),
    ],
)
def test_weights_that_leave_nothing_to_learn_from_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SnowmeltError) as refused:
        ExperimentConfig(**values)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "values",
    [
        {"distillation": {"kl_weight": 0, "mse_weight": 1}},
        {"distillation": {"kl_weight": 0, "enabled": False}},
        {"distillation": {"kl_weight": 0}, "teacher": {"source": "none"}},
        {"distillation": {"kl_weight": 0, "alpha": 0}},
        {"task": {"ce_weight": 0}},
        {"task": {"dice_weight": 0}},
    ],
)
def test_weights_of_zero_are_fine_where_something_is_left(values: dict[str, Any]) -> None:
    config = ExperimentConfig(**values).model_dump()
    assert all(config[section][name] == value for section, given in values.items() for name, value in given.items())


@pytest.mark.parametrize("value", [16, 32])
def test_a_precision_may_be_written_as_a_number(value: int) -> None:
    assert ExperimentConfig(training={"precision": value}).training.precision == str(value)


@pytest.mark.parametrize(
    ("values", "distills"),
    [
        ({}, True),
        ({"distillation": {"enabled": False}}, False),
        ({"teacher": {"source": "none"}}, False),
        ({"teacher": {"source": "runs/teacher"}}, True),
    ],
)
def test_a_teacher_takes_part_unless_it_is_switched_off(values: dict[str, Any], distills: bool) -> None:
    assert ExperimentConfig(**values).distills is distills


@pytest.mark.parametrize(
    "network",
    [{"weights": "none"}, {"decoder_channels": [64, 32, 16, 16, 8]}, {}, NetworkConfig(weights="none")],
    ids=["weights", "channels", "empty", "object"],
)
def test_a_teacher_given_in_part_keeps_its_own_encoder(network: Any) -> None:
    """NetworkConfig's default encoder is the student's; a teacher that fell back to it would be no teacher."""
    teacher = TeacherConfig(network=network)
    assert teacher.network.encoder == TeacherConfig().network.encoder == "timm-efficientnet-b3"
    again = ExperimentConfig(**ExperimentConfig(teacher=teacher).model_dump(exclude_unset=True))
    assert again.teacher == teacher


def test_a_teacher_with_an_encoder_gets_that_one() -> None:
    assert TeacherConfig(network={"encoder": "resnet18"}).network.encoder == "resnet18"
    assert TeacherConfig(network=NetworkConfig(encoder="resnet18")).network.encoder == "resnet18"


def test_assignment_is_checked_like_construction() -> None:
    config = ExperimentConfig()
    config.training.epochs = 7
    assert config.training.epochs == 7
    with pytest.raises(SnowmeltError) as refused:
        config.training.epochs = 0
    assert str(refused.value) == "epochs: Input should be greater than or equal to 1 (given 0)"
    with pytest.raises(SnowmeltError, match="first thaw epoch is -1"):
        config.thaw.start = -1
    assert (config.training.epochs, config.thaw.start) == (7, 10)
    with pytest.raises(SnowmeltError, match=r"no attribute .epoch."):
        config.training.epoch = 3  # type: ignore[attr-defined]


def test_a_list_that_is_assigned_is_not_ignored() -> None:
    config = ExperimentConfig()
    with pytest.raises(SnowmeltError, match="both given"):
        config.distillation = DistillationConfig(feature_match_layers=["temp_scheduling", "true", "5", "1", "linear"])


def test_defaults_are_not_shared_between_experiments() -> None:
    one, other = ExperimentConfig(), ExperimentConfig()
    one.training.epochs = 3
    one.teacher.network.depth = 3
    assert other == ExperimentConfig()


@pytest.mark.parametrize("section", [ThawConfig, TemperatureConfig, TrainingConfig, NetworkConfig, ExperimentConfig])
def test_settings_are_equal_when_their_values_are(section: type[Settings]) -> None:
    assert section() == section(**section().model_dump())


def test_schedules_are_those_of_the_settings() -> None:
    thaw = ThawConfig(start=3, every=2, lr_scale=0.5, most=4).schedule()
    assert [thaw.blocks_at(epoch, 7) for epoch in (2, 3, 4, 5, 9, 50)] == [0, 1, 1, 2, 4, 4]
    assert thaw.lr_scale == 0.5
    assert TemperatureConfig(kind="linear", initial=3.0, final=1.0).schedule().at(1, 3) == 2.0
    piecewise = TemperatureConfig(kind="piecewise", milestones={0: 4.0, 10: 2.0})
    assert piecewise.schedule().at(5, 50) == 3.0
