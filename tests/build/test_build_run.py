"""The parts of a run, as the settings ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from tiny_experiments import BLOCKS, ENCODER, tiny

from snowmelt.build import (
    make_engine,
    make_objective,
    make_run,
    make_scorer,
    open_data,
    settle,
    settle_weights,
    settling,
)
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.data import Splits
from snowmelt.errors import SnowmeltError
from snowmelt.models import load_weights, normalisation_of
from snowmelt.training import Engine, TrainingRun, TrainState


def built(config: ExperimentConfig, splits: Splits, engine: Engine, **options: Any) -> TrainingRun:
    return make_run(config, splits, engine, config.output / "checkpoints", **options)


@pytest.mark.parametrize(("weights", "classes"), [([1.0], 2), ([1.0, 2.0, 3.0], 2), ([1.0, 2.0], 3)])
def test_class_weights_must_be_as_many_as_classes(weights: list[float], classes: int) -> None:
    names = ("background", "person", "dog")[:classes]
    with pytest.raises(SnowmeltError) as refused:
        make_objective(ExperimentConfig(task={"class_weights": weights}), names)
    assert str(refused.value) == (
        f"task.class_weights has {len(weights)} numbers, but the data has {classes} classes ({', '.join(names)}); "
        "give one weight per class"
    )


def test_the_objective_has_the_weights_of_the_settings() -> None:
    config = ExperimentConfig(
        distillation={"alpha": 0.3, "kl_weight": 2.0, "mse_weight": 0.5},
        task={"ce_weight": 0.25, "dice_weight": 0.75, "class_weights": [1.0, 3.0]},
    )
    objective = make_objective(config, ("background", "person"))
    assert (objective.alpha, objective.ce_weight, objective.dice_weight) == (0.3, 0.25, 0.75)
    given = {name: weight for name, weight in objective.distillation_weights.items() if weight}
    assert given == {"kl": 2.0, "logit_mse": 0.5}
    assert objective.class_weights == [1.0, 3.0]


def test_threads_are_set_where_asked() -> None:
    before = torch.get_num_threads()
    try:
        make_engine(ExperimentConfig(training={"threads": 3, "device": "cpu", "precision": "32"}))
        assert torch.get_num_threads() == 3
        make_engine(ExperimentConfig(training={"device": "cpu", "precision": "32"}))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_all_groups_are_there_from_the_first_step(config: ExperimentConfig, splits: Splits, engine: Engine) -> None:
    config = with_values(config, {"thaw": {"progressive": True, "lr_scale": 0.25}, "optimizer": {"lr": 0.01}})
    run = built(config, splits, engine)
    rates = {group["name"]: group["lr"] for group in run.optimizer.param_groups}
    assert list(rates) == ["decoder", *run.thaw.blocks]
    assert len(run.thaw.blocks) == BLOCKS
    assert rates == {"decoder": 0.01, **dict.fromkeys(run.thaw.blocks, 0.0025)}
    assert {group["weight_decay"] for group in run.optimizer.param_groups} == {config.optimizer.weight_decay}


def test_numbers_of_the_loop_are_those_of_the_settings(
    config: ExperimentConfig, splits: Splits, engine: Engine
) -> None:
    training = {"max_steps": 3, "log_every": 5, "checkpoint_every": 4, "max_skipped": 6, "accumulate": 2}
    changed = with_values(config, {"training": training, "optimizer": {"clip_norm": None}, "seed": 7})
    run = built(changed, splits, engine, patience=8)
    options = run.options
    assert (options.max_steps, options.log_every, options.checkpoint_every, options.max_skipped) == (3, 5, 4, 6)
    assert (options.accumulate, options.clip_norm, options.seed, options.patience) == (2, None, 7, 8)
    assert (run.effective_batch, run.sampler.steps_per_epoch, run.last_step) == (4, 1, 2)
    assert run.sampler.seed == 7


@pytest.mark.parametrize(("progressive", "warned"), [(True, True), (False, False)])
def test_a_random_encoder_that_is_to_thaw_is_warned_of(
    progressive: bool, warned: bool, config: ExperimentConfig, splits: Splits, engine: Engine
) -> None:
    config = with_values(config, {"thaw": {"progressive": progressive}})
    text = " ".join(built(config, splits, engine).notices)
    assert ("thawing is meant for pretrained encoders" in text) == warned
    again = " ".join(built(config, splits, engine, resumes=True).notices)
    assert ("thawing is meant for pretrained encoders" in again) == warned  # a summary that lacks it would mislead


@pytest.mark.parametrize("norm_eval", [True, False])
def test_norms_that_keep_their_statistics_are_asked_for_and_warned_of_where_they_are_random(
    norm_eval: bool, config: ExperimentConfig, splits: Splits, engine: Engine
) -> None:
    config = with_values(config, {"thaw": {"norm_eval": norm_eval}})
    run = built(config, splits, engine)
    assert run.thaw.norm_eval == norm_eval
    assert ("thaw.norm_eval is meant for pretrained encoders" in " ".join(run.notices)) == norm_eval


def test_notices_of_others_are_passed_on(config: ExperimentConfig, splits: Splits, engine: Engine) -> None:
    assert built(config, splits, engine, notices=("mind the teacher",)).notices == ("mind the teacher",)


def test_only_a_random_encoder_that_begins_is_calibrated(
    config: ExperimentConfig, splits: Splits, engine: Engine, tmp_path: Path
) -> None:
    config = with_values(config, {"training": {"calibration_batches": 9}})
    run = built(config, splits, engine)
    assert run.options.calibration_batches == 9
    assert built(config, splits, engine, resumes=True).options.calibration_batches == 0
    state = {key: value.clone() for key, value in run.network.encoder.state_dict().items()}  # type: ignore[union-attr]
    torch.save(state, tmp_path / "encoder.pth")
    pretrained = with_values(config, {"student": {"weights": str(tmp_path / "encoder.pth")}})
    assert built(pretrained, splits, engine).options.calibration_batches == 0


def test_saved_weights_are_those_of_a_plain_network_and_say_what_they_are(
    config: ExperimentConfig, splits: Splits, engine: Engine
) -> None:
    run = built(config, splits, engine)
    run.checkpoints.save_best(TrainState(), run.network)
    plain = smp.Unet(ENCODER, encoder_weights=None, classes=1, decoder_channels=(16, 8, 8, 8, 8))
    plain.load_state_dict(load_file(run.checkpoints.best))
    _, metadata = load_weights(run.checkpoints.best)
    assert metadata["run"] == config.name
    assert metadata["classes"] == ["background", "person"]
    assert metadata["image_size"] == 64
    assert metadata["network"]["encoder"] == ENCODER
    assert metadata["mean"] == pytest.approx([0.485, 0.456, 0.406])


def test_many_classes_give_as_many_logits(tmp_path: Path, engine: Engine) -> None:
    config = tiny(tmp_path, data={"source": "scenes-parts:4"})
    splits = open_data(config)
    run = built(settle(config, 4, 2)[0], splits, engine)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert run.network(run.normalise(images)).shape == (2, 6, 64, 64)
    score = make_scorer(config, splits.val, engine, normalisation_of(ENCODER)).score(run.network)
    assert list(score.iou) == list(splits.classes)


@pytest.mark.parametrize(
    ("reachable", "student", "teacher", "scale"),
    [(True, "imagenet", "imagenet", 0.1), (False, "none", "none", 1.0)],
)
def test_auto_weights_are_decided_before_anything_is_named(
    reachable: bool, student: str, teacher: str, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        settling, "choose_weights", lambda encoder: ("imagenet", None) if reachable else ("none", f"no {encoder}")
    )
    settled, warnings = settle_weights(ExperimentConfig())
    assert (settled.student.weights, settled.teacher.network.weights) == (student, teacher)
    assert settled.teacher.lr_scale == scale
    assert len(warnings) == (0 if reachable else 2)
    assert all(who in line for who, line in zip(("student", "teacher"), warnings, strict=False))


def test_weights_that_are_given_are_not_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "choose_weights", lambda encoder: pytest.fail("nothing is open"))
    config = ExperimentConfig(student={"weights": "none"}, teacher={"network": {"weights": "imagenet"}})
    settled, warnings = settle_weights(config)
    assert (settled.student, settled.teacher.network, warnings) == (config.student, config.teacher.network, [])
    plain = with_values(config, {"distillation": {"enabled": False}, "teacher": {"network": {"weights": "auto"}}})
    assert settle_weights(plain) == (plain, [])
