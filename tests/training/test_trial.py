"""Stages that are tried out leave nothing behind, and cost what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, ScaledSingle, same_tensors, start_run
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.training import Message, TrainingRun, TrainState, fit, try_stages
from snowmelt.training.memory import MIB
from snowmelt.training.stages import enter_stage
from snowmelt.training.trial import first_batches

FEATURES: dict[str, Any] = {"feature_weight": 1.0, "feature_layers": ["encoder.3", "decoder.1"]}


def look(run: TrainingRun) -> dict[str, Any]:
    """Copies of everything that a step may change."""
    optimizer = run.optimizer.state_dict()
    numbers = [{key: value for key, value in group.items() if key != "params"} for group in optimizer["param_groups"]]
    moments = {key: {name: value.clone() for name, value in state.items()} for key, state in optimizer["state"].items()}
    tensors = {**dict(run.learner.named_parameters()), **dict(run.learner.named_buffers())}
    return {
        "tensors": {name: tensor.detach().clone() for name, tensor in tensors.items()},
        "learns": {name: parameter.requires_grad for name, parameter in run.learner.named_parameters()},
        "gradients": [None if p.grad is None else p.grad.clone() for p in run.learner.parameters()],
        "modes": [module.training for module in run.learner.modules()],
        "held": ["train" in vars(module) for module in run.learner.modules()],
        "moments": moments,
        "numbers": numbers,
        "notes": sorted(vars(run.optimizer)),
        "thawed": run.thaw.thawed,
        "wrapped": run.module is not None,
        "stepper": id(run.stepper),
        "position": list(run.sampler.position),
        "random": torch.get_rng_state(),
        "scale": None if run.engine.scaler is None else run.engine.scaler.get_scale(),
    }


def test_a_run_that_has_not_begun_is_as_it_was(tmp_path: Path) -> None:
    run = start_run(tmp_path, distillation=FEATURES)
    run.sampler.set_position(3, 1)
    before = look(run)
    costs = try_stages(run, [2, 0, 2], steps=1)
    assert same_tensors(look(run), before)
    assert not run.optimizer.state and run.module is None and run.stepper is None
    assert list(costs) == [0, 2]
    assert all(cost.seconds > 0 and cost.peak_bytes > 10 * MIB for cost in costs.values())


def test_a_run_under_way_is_as_it_was(tmp_path: Path) -> None:
    """Moments, gradients that nobody has used yet, modes that somebody set, a loss scale."""
    run = start_run(tmp_path, training={"max_steps": 3})
    fit(run)
    run.engine.precision = "16"
    run.engine.fabric.strategy.precision = ScaledSingle()
    assert run.engine.scaler is not None
    run.engine.scaler._init_scale = 2.0**4
    enter_stage(run, TrainState(epoch=2))
    next(run.network.decoder.parameters()).grad = torch.ones_like(next(run.network.decoder.parameters()))
    run.network.segmentation_head.eval()
    run.thaw.to(1)
    before = look(run)
    assert before["moments"] and any(gradient is not None for gradient in before["gradients"])
    try_stages(run, [1, 4], steps=1)
    assert same_tensors(look(run), before)


def test_a_trial_that_fails_leaves_nothing_either(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    before = look(run)
    with pytest.raises(SnowmeltError, match="thawed blocks must be 0 to"):
        try_stages(run, [1, 99], steps=1)
    assert same_tensors(look(run), before)


def test_a_run_after_a_trial_is_the_run_without(tmp_path: Path) -> None:
    """So is one that tries its stages by itself, to guard its memory, and finds room for all."""
    recorder = Recorder()
    for name in ("plain", "tried"):
        run = start_run(tmp_path / name, listeners=(recorder,), training={"epochs": 2})
        if name == "tried":
            try_stages(run, [0, 3], steps=1)
            run.options = replace(run.options, memory="refuse", memory_limit=1 << 50)
        fit(run)
    told = [message for message in recorder.of(Message) if "memory of a step by stage" in message.text]
    assert [message.level for message in told] == ["info"]
    plain, tried = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("plain", "tried"))
    assert same_tensors(tried, plain)


def test_the_peak_is_that_of_the_stage(tmp_path: Path) -> None:
    """96 MiB while one block learns, of which nothing is left in the stage before and after."""
    run = start_run(tmp_path)

    def need(module: nn.Module, inputs: Any) -> None:
        if run.thaw.thawed == 1:
            torch.ones(512 * MIB, dtype=torch.uint8)

    run.network.segmentation_head.register_forward_pre_hook(need)
    peaks = {count: cost.peak_bytes / MIB for count, cost in try_stages(run, [0, 1], steps=1).items()}
    again = try_stages(run, [0], steps=1)[0].peak_bytes / MIB
    assert 400 < peaks[1] - peaks[0] < 650  # a system that takes idle pages away moves both
    assert abs(again - peaks[0]) < 150


def test_batches_go_on_in_the_next_epoch(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    orders = []
    for epoch in range(2):
        run.sampler.set_position(epoch, 0)
        orders += [batch.indices.tolist() for batch in run.train_batches]
    assert [batch.indices.tolist() for batch in first_batches(run, 3)] == orders[:3]
