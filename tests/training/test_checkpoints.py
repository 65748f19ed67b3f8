"""Checkpoints: complete, refused where they do not fit, and never half written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file
from tiny_runs import NARROW, SMALL, ScaledSingle, same_tensors, start_run

from snowmelt.build.identity import later_defaults
from snowmelt.errors import SnowmeltError
from snowmelt.models import load_weights
from snowmelt.training import TrainingRun, TrainState, fit


def trained(folder: Path, **changes: Any) -> TrainState:
    return fit(start_run(folder, **changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoints") / "run"
    trained(path, training={"epochs": 2})
    return path


def test_the_state_holds_the_best_score_it_just_reached(folder: Path) -> None:
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    state = TrainState.from_dict(saved["state"])
    assert (state.step, state.epoch, state.step_in_epoch) == (4, 2, 0)
    assert state.best_epoch in (0, 1) and state.best_miou > 0
    metadata = load_weights(folder / "best.safetensors")[1]
    assert metadata["best_miou"] == state.best_miou
    assert metadata["best_epoch"] == state.best_epoch


def test_weights_load_into_plain_smp_and_say_what_they_are(folder: Path) -> None:
    plain = smp.Unet(SMALL, encoder_weights=None, decoder_channels=NARROW, classes=1)
    for name in ("best.safetensors", "last.safetensors"):
        plain.load_state_dict(load_file(folder / name))  # strict: no prefix, nothing missing
    metadata = load_weights(folder / "best.safetensors")[1]
    assert metadata["classes"] == ["background", "person"]
    assert metadata["network"]["encoder"] == SMALL
    assert metadata["image_size"] == 64
    assert len(metadata["mean"]) == len(metadata["std"]) == 3


def test_no_teacher_in_the_checkpoint(folder: Path) -> None:
    saved = torch.load(folder / "last.ckpt", weights_only=True)
    student = smp.Unet(SMALL, encoder_weights=None, decoder_channels=NARROW, classes=1)
    assert saved["network"].keys() == student.state_dict().keys()


def test_the_identity_must_agree(folder: Path) -> None:
    run = start_run(folder, training={"epochs": 2}, optimizer={"lr": 0.5})
    with pytest.raises(SnowmeltError, match=r"optimizer.lr was 0.001 and is 0.5"):
        fit(run)


def test_a_checkpoint_of_before_there_were_reactions_goes_on(folder: Path, tmp_path: Path) -> None:
    content = torch.load(folder / "last.ckpt", weights_only=True)
    content["identity"] = {key: each for key, each in content["identity"].items() if key not in later_defaults()}
    for name in ("guard", "thawed_in", "thaw_cap", "micro_batch"):
        del content["state"][name]
    del content["average"], content["sealed"]
    torch.save(content, tmp_path / "last.ckpt")
    assert fit(start_run(tmp_path, training={"epochs": 2})).step == 4
    with pytest.raises(SnowmeltError, match=r"reactions.thaw_guard was False and is True; use the same"):
        fit(start_run(tmp_path, training={"epochs": 2}, reactions={"thaw_guard": True}))


def test_what_may_change_may_change(folder: Path) -> None:
    run = start_run(folder, training={"epochs": 2, "log_every": 7, "max_steps": 99})
    assert fit(run).step == 4


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (canary.write_text, ("executed",))

    torch.save({"format": 1, "identity": Malicious()}, tmp_path / "last.ckpt")
    with pytest.raises(SnowmeltError, match=r"last\.ckpt: is damaged or no checkpoint"):
        fit(start_run(tmp_path, training={"epochs": 2}))
    assert not canary.exists()


def test_a_cut_while_saving_leaves_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (folder / "last.ckpt").read_bytes()
    run = start_run(folder, training={"epochs": 2})

    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("snowmelt.disk.writing.os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        run.checkpoints.save_last(TrainState(step=99), run.network, run.optimizer)
    assert (folder / "last.ckpt").read_bytes() == before


def test_other_data_of_the_same_size_is_refused(folder: Path) -> None:
    # Two classes become the same number of images with six classes' names.
    run = start_run(folder, training={"epochs": 2}, data={"val": "scenes:9"}, teacher=False)
    run.teacher = None
    with pytest.raises(SnowmeltError, match=r"digest of the data's names was '\w+' and is '\w+'"):
        fit(run)


def test_another_teacher_is_refused(folder: Path) -> None:
    run = start_run(folder, training={"epochs": 2})
    run.checkpoints.identity["digest of the teacher"] = "another"
    with pytest.raises(SnowmeltError, match=r"digest of the teacher was .* and is 'another'"):
        fit(run)


FIRST_SCALE = 2.0**36  # so far too large for the gradients here that each step halves it


def half_run(folder: Path, **training: Any) -> TrainingRun:
    """A run with the loss scaler of fp16; the first steps overflow at its scale."""
    run = start_run(folder, training={"epochs": 4, "max_skipped": 99, **training})
    run.engine.fabric.strategy.precision = ScaledSingle(FIRST_SCALE)
    return run


def test_the_loss_scale_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, first = half_run(tmp_path / "whole"), half_run(tmp_path / "cut", max_steps=3)
    fit(first)
    resumed = half_run(tmp_path / "cut")
    fit(resumed)
    fit(whole)
    assert whole.engine.scaler is not None and resumed.engine.scaler is not None
    assert resumed.engine.scaler.state_dict() == whole.engine.scaler.state_dict()
    assert first.engine.scaler is not None and first.engine.scaler.get_scale() < FIRST_SCALE
    assert resumed.engine.scaler.get_scale() < first.engine.scaler.get_scale()  # it fell in both parts
    assert same_tensors(resumed.network.state_dict(), whole.network.state_dict())


def test_a_checkpoint_of_before_has_no_loss_scale(tmp_path: Path) -> None:
    fit(half_run(tmp_path, max_steps=1))
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert content.pop("scaler")["scale"] == FIRST_SCALE / 2
    del content["sealed"]
    torch.save(content, tmp_path / "last.ckpt")
    run = half_run(tmp_path, max_steps=1)
    assert fit(run).step == 1
    assert run.engine.scaler is not None and run.engine.scaler.get_scale() == FIRST_SCALE  # a fresh one
