"""Settings of the teacher and of distillation: what belongs together, and what would have no effect."""

from __future__ import annotations

from typing import Any

import pytest

from snowmelt.config import DistillationConfig, ExperimentConfig, TeacherConfig, with_values
from snowmelt.errors import SnowmeltError


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": {"unlabelled": "more"}, "distillation": {"enabled": False}}, "without a teacher; set it to null"),
        ({"distillation": {"feature_weight": 1.0}}, "feature_layers and feature_weight belong together"),
        ({"distillation": {"feature_layers": ["decoder"]}}, "feature_layers and feature_weight belong together"),
        (
            {
                "distillation": {"feature_weight": 1.0, "feature_layers": ["decoder"]},
                "teacher": {"mode": "cached"},
            },
            "features are not cached; use teacher.mode=live",
        ),
        ({"teacher": {"mean": [0, 0, 0]}}, "teacher: mean and std belong together"),
        ({"teacher": {"source": "a.onnx", "mean": [0, 0], "std": [1, 1]}}, "teacher.mean"),
        ({"teacher": {"source": "a.onnx", "mean": [0, 0, 0], "std": [1, 1, 0]}}, "teacher.std.2"),
        ({"teacher": {"class_map": {1: "person"}}}, "class_map is for teachers that are given, but source is 'auto'"),
        ({"teacher": {"outputs": "logits"}}, "outputs is for teachers that are given"),
        ({"teacher": {"mode": "sometimes"}}, "teacher.mode"),
        ({"teacher": {"cache_stride": 3}}, "teacher.cache_stride"),
        ({"teacher": {"image_size": 100}}, "teacher.image_size"),
        ({"distillation": {"weight_schedules": {"beta": {}}}}, "there is no weight 'beta'; known: alpha, kl_weight"),
        ({"distillation": {"weight_schedules": {"alpha": {"final": 1.5}}}}, "alpha is a share, but rises to 1.5"),
        ({"distillation": {"weight_schedules": {"kl_weight": {"final": -1}}}}, "weight_schedules.kl_weight"),
        ({"distillation": {"adaptive_epochs": 0}}, "distillation.adaptive_epochs"),
        ({"distillation": {"adaptive_epochs": 9}}, "adaptive_epochs is given, but adaptive is off"),
        (
            {"distillation": {"kl_weight": 0.0, "cwd_weight": 1.0, "logit_standardisation": True}},
            "logit_standardisation is about the KL, but kl_weight is 0",
        ),
        ({"teacher": {"image_size": 64}}, "image_size is for teachers that are given, but source is 'auto'"),
        ({"teacher": {"mode": "live", "cache_stride": 2}}, "for stored answers, but mode is 'live'"),
        (
            {
                "distillation": {"feature_weight": 1.0, "feature_layers": ["decoder"]},
                "teacher": {"cache_precision": "uint8"},
            },
            "for stored answers, but features ask the teacher live",
        ),
    ],
)
def test_what_does_not_hang_together_is_refused_in_one_line(values: dict[str, Any], said: str) -> None:
    with pytest.raises(SnowmeltError, match=said.replace("(", "\\(")) as caught:
        ExperimentConfig(**values)
    assert "\n" not in str(caught.value)


def test_a_scheduled_weight_counts_as_a_loss() -> None:
    only_later = {"kl_weight": {"kind": "linear", "initial": 0.0, "final": 1.0}}
    config = ExperimentConfig(distillation={"kl_weight": 0.0, "weight_schedules": only_later})
    assert config.distillation.has_terms
    with pytest.raises(SnowmeltError, match="all other weights are 0"):
        ExperimentConfig(distillation={"kl_weight": 0.0, "weight_schedules": {"alpha": {"final": 0.5}}})
    late = ExperimentConfig(
        task={"ce_weight": 0, "dice_weight": 0}, distillation={"weight_schedules": {"dice_weight": {"initial": 0.0}}}
    )
    assert late.task.ce_weight == 0


@pytest.mark.parametrize("name", ["cwd_weight", "dist_inter_weight", "dist_intra_weight", "mse_weight"])
def test_any_one_loss_is_enough(name: str) -> None:
    assert ExperimentConfig(distillation={"kl_weight": 0.0, name: 1.0}).distillation.has_terms


def test_milestones_of_a_weight_are_the_values_it_moves_between() -> None:
    schedules = {"alpha": {"kind": "piecewise", "milestones": {0: 0.9, 5: 0.1}}}
    config = DistillationConfig(weight_schedules=schedules)
    assert config.weight_schedules["alpha"].values == [0.9, 0.1]
    assert config.weight_schedules["alpha"].schedule().at(5, 10) == 0.1


def test_a_class_map_keeps_names_numbers_and_dropped_classes() -> None:
    given = {15: "person", "*": "background", "sky": None}
    teacher = TeacherConfig(source="a.onnx", class_map=given)
    assert teacher.class_map == given


def test_a_second_class_map_replaces_the_first() -> None:
    """Keys of two maps must not mix: what the new one does not name has to be an error, not the old one's meaning."""
    config = ExperimentConfig(teacher={"source": "a.onnx", "class_map": {1: "person", 0: "background"}})
    changed = with_values(config, {"teacher": {"class_map": {2: "person"}}})
    assert changed.teacher.class_map == {2: "person"}


def test_what_does_nothing_now_may_stand_at_its_default() -> None:
    """``config.yaml`` names every setting, those that have no effect too."""
    config = ExperimentConfig(teacher={"source": "a.onnx", "mode": "live"})
    assert ExperimentConfig(**config.model_dump(mode="json")) == config
