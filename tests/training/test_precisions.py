"""What half precision does to a run: bfloat16 stays within stated bounds of float32, and fp16 finds its loss scale."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from lightning_fabric.plugins import MixedPrecision
from tiny_runs import Recorder, start_run

from snowmelt.training import Message, TrainingRun, fit
from snowmelt.training.events import EpochEnded, RolledBack, StepEnded

# docs/reliability.md has what was measured.
MOST_IN_A_STEP, MOST_ON_AVERAGE = 0.10, 0.02


def losses(folder: Path, precision: str, seed: int) -> list[float]:
    recorder = Recorder()
    training = {"precision": precision, "epochs": 12, "batch_size": 2}
    fit(start_run(folder, listeners=(recorder,), seed=seed, training=training, data={"augmentation": "light"}))
    return [event.losses["total"] for event in recorder.of(StepEnded)]


def test_bfloat16_follows_float32_step_by_step(tmp_path: Path) -> None:
    full, half = (losses(tmp_path / precision, precision, seed=0) for precision in ("32", "bf16"))
    apart = [abs(one - other) / one for one, other in zip(full, half, strict=True)]
    assert len(apart) == 36 and 0 < max(apart) < MOST_IN_A_STEP
    assert abs(fmean(half) / fmean(full) - 1) < MOST_ON_AVERAGE
    assert full[-1] < full[0] and half[-1] < half[0]


class Scaling(MixedPrecision):
    """fp16's loss scaler over float32 arithmetic: convolutions in fp16 are very slow on a CPU."""

    def __init__(self, scale: float) -> None:
        super().__init__("16-mixed", "cpu")
        assert self.scaler is not None
        self.scaler._init_scale = scale

    def forward_context(self) -> AbstractContextManager[None]:
        return nullcontext()

    def convert_input(self, data: Any) -> Any:
        return data


def start_scaled(folder: Path, scale: float, recorder: Recorder, **training: Any) -> TrainingRun:
    """A run in which a gradient beyond the range of fp16 is infinite, as it is there."""
    training = {"batch_size": 2, "max_skipped": 2, **training}
    run = start_run(folder, listeners=(recorder,), training=training)
    run.engine.precision, run.engine.fabric.strategy.precision = "16", Scaling(scale)
    weight = run.network.segmentation_head[0].weight
    weight.register_hook(lambda gradient: torch.where(gradient.abs() > 65504, torch.inf, gradient))
    return run


def test_fp16_finds_its_scale_and_the_search_takes_no_run_back(tmp_path: Path) -> None:
    recorder = Recorder()
    run = start_scaled(tmp_path, 2.0**28, recorder, epochs=6)
    state = fit(run)
    skipped = sum(event.record.skipped_steps for event in recorder.of(EpochEnded))
    assert 2 * 2 < skipped < state.step == 18
    assert state.rollbacks == [] and not recorder.of(RolledBack)
    assert run.engine.scaler is not None and run.engine.scaler.get_scale() == 2.0 ** (28 - skipped)
    told = [event for event in recorder.of(Message) if "gradient at the loss scale of fp16 not finite" in event.text]
    assert told and all(event.level == "info" for event in told)


def test_fp16_whose_gradient_overflows_without_a_scale_goes_back(tmp_path: Path) -> None:
    recorder = Recorder()
    run = start_scaled(tmp_path, 4.0, recorder, rollbacks=1)
    weight = run.network.segmentation_head[0].weight
    weight.register_hook(lambda gradient: gradient * (1.0 if recorder.of(RolledBack) else float("inf")))
    state = fit(run)
    assert [event["not_finite"] for event in state.rollbacks] == [{"gradient": 2}]
    # Scales 4 and 2 were searched, at 1 and below the row began.
    assert [event.step for event in recorder.of(StepEnded)][:6] == [1, 2, 3, 4, 1, 2]
