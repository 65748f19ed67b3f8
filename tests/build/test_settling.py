"""What is left open until the data are known, ``auto`` above all."""

from __future__ import annotations

from typing import Any

import pytest

from snowmelt.build import settle
from snowmelt.build.settling import thaw_for_size
from snowmelt.config import ExperimentConfig, ThawConfig, with_values
from snowmelt.config_manager import ConfigManager

AUTO = ConfigManager.get_config("auto")


@pytest.mark.parametrize(("images", "epochs"), [(1, 100), (999, 100), (1000, 50), (1_000_000, 50)])
def test_auto_lets_the_whole_encoder_learn_at_the_measured_rate(images: int, epochs: int) -> None:
    settled, notes = settle(AUTO, images, 7)
    assert (settled.thaw.progressive, settled.thaw.lr_scale) == (False, 0.3)
    assert (settled.training.epochs, settled.teacher.epochs) == (epochs, epochs)
    assert (settled.temperature, settled.distillation) == (AUTO.temperature, AUTO.distillation)
    assert notes == [
        f"auto: {images} training images: {epochs} epochs, whole encoder learns from epoch 0, encoder rate x 0.3"
    ]


@pytest.mark.parametrize("images", [10, 5000, 50_000])
def test_other_experiments_do_not_look_at_the_number_of_images(images: int) -> None:
    config = ConfigManager.get_config("fine_tuning")
    settled, notes = settle(config, images, 7)
    assert (settled.thaw, notes) == (config.thaw, [])


@pytest.mark.parametrize(
    ("images", "given", "thaw"),
    [
        (999, {"progressive": True}, ThawConfig(start=20, every=10, lr_scale=0.3)),
        (1000, {"progressive": True}, ThawConfig(start=10, every=5, lr_scale=0.3)),
        (10_000, {"every": 4}, ThawConfig(start=10, every=4, lr_scale=0.3)),
        (10_001, {"start": 7}, ThawConfig(start=7, every=3, lr_scale=0.3)),
        (50, {"most": 2, "lr_scale": 0.5}, ThawConfig(start=20, every=10, lr_scale=0.5, most=2)),
        (50, {"every": 4, "progressive": False}, ThawConfig(progressive=False, start=20, every=4, lr_scale=0.3)),
        (50, {"lr_scale": 0.5}, ThawConfig(progressive=False, start=20, every=10, lr_scale=0.5)),
    ],
)
def test_a_thaw_that_is_asked_for_comes_when_the_published_advice_has_it(
    images: int, given: dict[str, object], thaw: ThawConfig
) -> None:
    settled, [note] = settle(with_values(AUTO, {"thaw": given}), images, 7)
    assert settled.thaw == thaw
    assert (f"first block thaws at epoch {thaw.start}, one more every {thaw.every}" in note) is thaw.progressive


def test_what_was_given_wins_over_what_auto_would_choose() -> None:
    given = {"training": {"epochs": 30}, "distillation": {"alpha": 0.4}, "data": {"unlabelled": "more"}}
    settled, [note] = settle(with_values(AUTO, given), 50, 7)
    assert (settled.training.epochs, settled.teacher.epochs, settled.distillation.alpha) == (30, 30, 0.4)
    assert "50 training images: 30 epochs" in note and "alpha" not in note
    assert settled.distillation.dist_intra_weight == 1.0


@pytest.mark.parametrize(
    "given",
    [
        {"cwd_weight": 3.0},
        {"kl_weight": 1.0},
        {"logit_standardisation": True},
        {"weight_schedules": {"kl_weight": {"kind": "linear", "initial": 1.0, "final": 0.1}}},
    ],
)
def test_whoever_gives_a_term_has_chosen_all_of_them(given: dict[str, Any]) -> None:
    config = with_values(AUTO, {"distillation": given, "data": {"unlabelled": "more"}})
    settled, _ = settle(config, 50, 7)
    assert settled.distillation == config.distillation.model_copy(update={"alpha": 0.9})


def test_a_schedule_of_alpha_is_a_choice_of_alpha() -> None:
    schedule = {"weight_schedules": {"alpha": {"kind": "linear", "initial": 0.2, "final": 0.8}}}
    config = with_values(AUTO, {"distillation": schedule, "data": {"unlabelled": "more"}})
    settled, [note] = settle(config, 50, 7)
    assert settled.distillation == config.distillation and "without masks" not in note


@pytest.mark.parametrize(
    ("classes", "weights", "told"),
    [
        (2, (1.0, 0.0, 1.0), "dist_intra_weight 1"),
        (3, (0.0, 1.0, 1.0), "kl_weight 0, dist_inter_weight 1, dist_intra_weight 1"),
        (7, (0.0, 1.0, 1.0), "kl_weight 0, dist_inter_weight 1, dist_intra_weight 1"),
    ],
)
def test_images_without_masks_are_listened_to_for_the_relations(
    classes: int, weights: tuple[float, ...], told: str
) -> None:
    more = with_values(AUTO, {"data": {"unlabelled": "more"}})
    settled, [note] = settle(more, 50, classes)
    teaching = settled.distillation
    assert teaching.alpha == 0.9
    assert (teaching.kl_weight, teaching.dist_inter_weight, teaching.dist_intra_weight) == weights
    assert note.endswith(f"; for the images without masks alpha 0.9, {told}")
    assert settle(settled, 50, classes)[0] == settled


def test_the_figures_are_the_published_ones() -> None:
    found = [thaw_for_size(images) for images in (1, 999, 1000, 10_000, 10_001)]
    assert found == [
        *[("small_data", {"start": 20, "every": 10, "lr_scale": 0.01})] * 2,
        *[("medium_data", {"start": 10, "every": 5, "lr_scale": 0.1})] * 2,
        ("large_data", {"start": 5, "every": 3, "lr_scale": 0.3}),
    ]
    for name, thaw in found:
        assert ConfigManager.get_config(name).thaw == ThawConfig(**thaw)  # named so, and kept as published


def test_a_teacher_trains_as_long_as_its_student_unless_told() -> None:
    config = ExperimentConfig(training={"epochs": 7})
    assert settle(config, 10, 7)[0].teacher.epochs == 7
    assert settle(with_values(config, {"teacher": {"epochs": 3}}), 10, 7)[0].teacher.epochs == 3


def test_what_is_settled_stays_as_it_is() -> None:
    for name in ConfigManager.list_configs():
        settled, _ = settle(ConfigManager.get_config(name), 50, 7)
        assert settle(settled, 50, 7)[0] == settled
