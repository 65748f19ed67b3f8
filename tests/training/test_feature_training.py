"""Feature matching in training: projections learn, are synchronised and saved, and never leave with the student."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from test_step import make_batch, ready
from tiny_runs import NARROW, QUICKLY_COMPILED, SMALL, Recorder, random_teacher, same_tensors, start_run

from snowmelt.errors import SnowmeltError
from snowmelt.losses import feature_matching
from snowmelt.models import Thaw, available_features, build_network
from snowmelt.training import Engine, FeatureMatching, TrainingRun, TrainState, fit
from snowmelt.training.events import EpochEnded, StepEnded
from snowmelt.training.stages import enter_stage
from snowmelt.training.step import train_step

LAYERS = ["encoder.3", "decoder.1"]
MATCHING: dict[str, Any] = {"feature_weight": 1.0, "feature_layers": LAYERS}
ALONE: dict[str, Any] = {**MATCHING, "alpha": 1.0, "kl_weight": 0.0}


def small(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network("unet", SMALL)


def features_of(run: TrainingRun) -> FeatureMatching:
    assert run.features is not None
    return run.features


def test_one_forward_pass_gives_logits_and_projected_maps() -> None:
    student, teacher = small(), build_network("fpn", "resnet18")
    matching = FeatureMatching(student, teacher, ["encoder.4", "decoder"], ["encoder.3", "decoder"])
    student.eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        logits, maps = matching.module(images)
        teacher.eval()(images)
        assert torch.equal(logits, student(images))
    assert [tuple(map_.shape) for map_ in maps] == [(2, 128, 4, 4), (2, 128, 64, 64)]
    assert [tuple(map_.shape) for map_ in matching.read_teacher()] == [(2, 128, 8, 8), (2, 128, 16, 16)]


def test_projections_are_seeded_and_draw_from_no_other_generator() -> None:
    student, teacher = small(), small(1)
    before = torch.get_rng_state()
    first, second, other = (FeatureMatching(student, teacher, LAYERS, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert same_tensors(dict(first.projections.state_dict()), dict(second.projections.state_dict()))
    assert not same_tensors(dict(first.projections.state_dict()), dict(other.projections.state_dict()))


def test_they_learn_with_the_decoder_behind_its_own_parameters() -> None:
    student = small()
    thaw = Thaw(student)
    matching = FeatureMatching(student, small(1), LAYERS)
    before = thaw.param_groups(lr=1e-3, weight_decay=0.0)
    after = matching.join(thaw.param_groups(lr=1e-3, weight_decay=0.0))
    projections = list(matching.projections.parameters())
    for old, new in zip(before, after, strict=True):
        expected = [*old["params"], *(projections if old["name"] == "decoder" else [])]
        assert list(map(id, new["params"])) == list(map(id, expected))
    assert len(projections) == len(LAYERS)


def test_a_layer_that_the_teacher_lacks_is_refused() -> None:
    with pytest.raises(SnowmeltError, match=r"no feature layer 'decoder.1'; choose from encoder.0"):
        FeatureMatching(small(), build_network("fpn", "resnet18"), LAYERS)


def test_the_term_is_the_loss_of_the_projected_maps(tmp_path: Path) -> None:
    run = ready(tmp_path, own_network=True, training={"batch_size": 2, "accumulate": 2}, distillation=MATCHING)
    batch, matching = make_batch(), features_of(run)
    with torch.no_grad():
        run.network(run.normalise(batch.images))
        ours = matching.project()
        run.teacher(batch)
        pairs = list(zip(ours, matching.read_teacher(), strict=True))
        expected = torch.stack([feature_matching(a, b, valid=batch.masks != 255) for a, b in pairs]).mean()
    terms = train_step(run, batch, temperature=2.0).terms
    assert terms["feature"] == pytest.approx(expected.item(), rel=1e-5)


def test_while_the_encoder_is_frozen_only_the_projections_hear_of_its_maps(tmp_path: Path) -> None:
    run = ready(tmp_path, epoch=0, distillation={**ALONE, "feature_layers": ["encoder.3"]})
    before = copy.deepcopy((run.network.state_dict(), features_of(run).projections.state_dict()))
    train_step(run, make_batch(), temperature=2.0)
    after = run.network.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[0][name]) and "running" not in name}
    assert not any(name.startswith("encoder.") for name in moved)
    projections = features_of(run).projections.state_dict()
    assert all(not torch.equal(value, before[1][name]) for name, value in projections.items())


def test_after_a_thaw_the_encoder_learns_from_its_maps(tmp_path: Path) -> None:
    run = ready(tmp_path, epoch=0, distillation={**ALONE, "feature_layers": ["encoder.5"]})
    train_step(run, make_batch(), temperature=2.0)
    enter_stage(run, TrainState(epoch=1))
    before = copy.deepcopy(run.network.encoder.state_dict())
    train_step(run, make_batch(), temperature=2.0)
    weights = dict(run.network.encoder.named_parameters())
    moved = {name for name, value in weights.items() if not torch.equal(value, before[name])}
    thawed = {id(parameter) for group in run.optimizer.param_groups[1:2] for parameter in group["params"]}
    assert moved and {id(weights[name]) for name in moved} <= thawed


def test_the_student_leaves_without_the_projections(tmp_path: Path) -> None:
    run = start_run(tmp_path, distillation=MATCHING, training={"epochs": 1})
    first = copy.deepcopy(features_of(run).projections.state_dict())
    fit(run)
    for name in ("best", "last"):
        plain = smp.Unet(SMALL, encoder_weights=None, decoder_channels=NARROW)
        plain.load_state_dict(load_file(tmp_path / f"{name}.safetensors"), strict=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["projections"]
    assert same_tensors(dict(saved), dict(features_of(run).projections.state_dict()))
    assert not same_tensors(dict(saved), dict(first))


def test_a_checkpoint_goes_on_only_with_the_features_that_it_had(tmp_path: Path) -> None:
    fit(start_run(tmp_path, training={"epochs": 2, "max_steps": 1}))
    run = start_run(tmp_path, distillation=MATCHING, training={"epochs": 2})
    run.checkpoints.identity = {}
    with pytest.raises(SnowmeltError, match="feature matching switched on or off"):
        fit(run)


def test_validation_has_the_term_and_asks_the_teacher_once(tmp_path: Path) -> None:
    recorder = Recorder()
    run = start_run(tmp_path, listeners=(recorder,), distillation=MATCHING, training={"epochs": 3})
    examiner, calls = run.examiner, []
    assert examiner is not None
    run.examiner = lambda batch: calls.append(len(batch)) or examiner(batch)  # type: ignore[func-returns-value]
    fit(run)
    records = [event.record for event in recorder.of(EpochEnded)]
    assert len(calls) == len(list(run.val_batches))
    assert all(set(record.train) == set(record.val) and "feature" in record.val for record in records)
    (batch,) = list(run.val_batches)
    run.network.eval()
    with torch.no_grad():
        run.network(run.normalise(batch.images))
        ours = features_of(run).project()
        examiner(batch)
        theirs = features_of(run).read_teacher()
        values = [feature_matching(a, b, valid=batch.masks != 255) for a, b in zip(ours, theirs, strict=True)]
    assert records[-1].val["feature"] == pytest.approx(torch.stack(values).mean().item(), rel=1e-4)


def test_compiling_keeps_the_taps_across_thaws(tmp_path: Path) -> None:
    losses, runs = [], []
    for name in ("plain", "compiled"):
        recorder = Recorder()
        changes: dict[str, Any] = {"student": QUICKLY_COMPILED, "distillation": ALONE, "training": {"epochs": 2}}
        run = start_run(tmp_path / name, listeners=(recorder,), **changes)
        if name == "compiled":
            run.engine._compile = "aot_eager"
        fit(run)
        losses.append([event.losses["feature"] for event in recorder.of(StepEnded)])
        runs.append(run)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    moments = [run.optimizer.state for run in runs]
    for plain, compiled in zip(*(features_of(run).projections.parameters() for run in runs), strict=True):
        expected = moments[0][plain]["exp_avg"]
        assert expected.abs().max() > 0
        torch.testing.assert_close(moments[1][compiled]["exp_avg"], expected, rtol=0.02, atol=1e-5)


def test_half_precision(tmp_path: Path) -> None:
    run = ready(tmp_path, distillation=MATCHING, training={"precision": "bf16"})
    outcome = train_step(run, make_batch(), temperature=2.0)
    assert bool(outcome.finite) and outcome.terms["feature"].dtype == torch.float32


def test_a_teacher_with_other_strides_and_channels(tmp_path: Path) -> None:
    teacher = random_teacher(Engine("cpu", "32"), encoder="timm-efficientnet-b0")
    known = available_features(teacher.network)
    matching = FeatureMatching(small(), teacher.network, LAYERS)
    teacher(make_batch().images)
    assert [map_.shape[1] for map_ in matching.read_teacher()] == [known[layer].channels for layer in LAYERS]


def test_a_matching_that_is_over_lets_go_of_both_networks() -> None:
    """A teacher goes on to the next run of a comparison; the hooks of all runs before would keep their maps."""
    student, teacher = small(), small(1)
    matching = FeatureMatching(student, teacher, LAYERS)
    matching.close()
    teacher.eval()(make_batch().images.float())
    assert not any(module._forward_hooks for network in (student, teacher) for module in network.modules())
    with pytest.raises(SnowmeltError, match="has not run"):
        matching.read_teacher()
