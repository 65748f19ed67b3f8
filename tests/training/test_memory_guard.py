"""What a run decides about its memory before its first step, by stages that really take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, same_tensors, start_run
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.training import Message, TrainingRun, TrainState, fit, try_stages
from snowmelt.training.events import StageStarted, StepEnded
from snowmelt.training.memory import MIB
from snowmelt.training.memory_guard import coming_stages, guard_memory

IMAGE = 192  # MiB that an image takes as soon as a block learns; what a test's process holds may vary by less
START: dict[str, Any] = {"training": {"epochs": 2, "batch_size": 4}, "teacher": False}


def load(run: TrainingRun) -> None:
    """Make the stages from the first thawed block on expensive."""

    def need(_: nn.Module, inputs: Any) -> None:
        if run.thaw.thawed >= 1 and torch.is_grad_enabled():
            torch.ones(len(inputs[0]) * IMAGE * MIB, dtype=torch.uint8)

    run.network.segmentation_head.register_forward_pre_hook(need)


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> int:
    """Bytes with which four images fit until a block learns, and two images always.

    Anew for each test: a system that takes idle pages away changes what the process holds.
    """
    run = start_run(tmp_path_factory.mktemp("room"), **START)
    return try_stages(run, [0], steps=1)[0].peak_bytes + 3 * IMAGE * MIB


def begin(folder: Path, memory: str, limit: int, max_steps: int | None = None) -> tuple[TrainingRun, Recorder]:
    recorder = Recorder()
    run = start_run(folder, listeners=(recorder,), **START)
    run.options = replace(run.options, memory=memory, memory_limit=limit, max_steps=max_steps)  # type: ignore[arg-type]
    load(run)
    return run, recorder


def plain(folder: Path, **changes: Any) -> dict[str, Any]:
    changes = {key: {**START.get(key, {}), **value} for key, value in changes.items()}
    fit(start_run(folder, **{**START, **changes}))
    return torch.load(folder / "last.ckpt", weights_only=True)


def warnings_of(recorder: Recorder, level: str = "warning") -> list[str]:
    return [message.text for message in recorder.of(Message) if message.level == level and "memory" in message.text]


def assert_same_run(folder: Path, reference: dict[str, Any]) -> None:
    found = torch.load(folder / "last.ckpt", weights_only=True)
    for part in ("network", "optimizer"):
        assert same_tensors(found[part], reference[part])
    assert found["state"]["best_miou"] == reference["state"]["best_miou"]


def test_split_is_the_run_with_smaller_batches_that_accumulates(tmp_path: Path, room: int) -> None:
    """Cut and resumed, too."""
    run, recorder = begin(tmp_path / "split", "split", room, max_steps=1)
    assert fit(run).micro_batch == 2
    (told,) = warnings_of(recorder)
    assert "1 thawed block (from epoch 1 on) and 4 images at a time need" in told
    assert "micro-batches of 2; the effective batch stays 4" in told
    table = warnings_of(recorder, "info")[0].splitlines()
    assert [line.split()[:3] for line in table[2:]] == [["0", "0", "4"], ["1", "1", "4"], ["1", "1", "2"]]
    again, recorder = begin(tmp_path / "split", "split", room)
    assert fit(again).micro_batch == 2
    assert not warnings_of(recorder)  # it fits by now
    assert_same_run(tmp_path / "split", plain(tmp_path / "small", training={"batch_size": 2, "accumulate": 2}))


def test_delay_is_the_run_that_thaws_no_more_blocks(tmp_path: Path, room: int) -> None:
    run, recorder = begin(tmp_path / "delay", "delay", room)
    state = fit(run)
    assert (state.thaw_cap, state.micro_batch) == (0, None)
    assert [event.thawed_blocks for event in recorder.of(StageStarted)] == [0]
    (told,) = warnings_of(recorder)
    assert "1 thawed block (from epoch 1 on)" in told and told.endswith("no more than 0 thawed blocks for this run")
    assert_same_run(tmp_path / "delay", plain(tmp_path / "most", thaw={"start": 1, "every": 1, "most": 0}))


def test_refuse_says_what_would_fit(tmp_path: Path, room: int) -> None:
    run, recorder = begin(tmp_path, "refuse", room)
    with pytest.raises(SnowmeltError) as error:
        fit(run)
    text = str(error.value)
    assert "1 thawed block (from epoch 1 on) and 4 images at a time need" in text and "\n" not in text
    assert f"and there are {room // MIB + (room % MIB > 0)} MiB" in text
    assert "--set training.batch_size=2 --set training.accumulate=2" in text and "--set thaw.most=0" in text
    assert not recorder.of(StepEnded) and not (tmp_path / "last.ckpt").exists()


@pytest.mark.parametrize("memory", ["split", "delay"])
def test_where_nothing_fits_the_run_is_refused(memory: str, tmp_path: Path) -> None:
    run, _ = begin(tmp_path, memory, MIB)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.stepper = run.engine.set_up(run.optimizer)
    with pytest.raises(SnowmeltError, match=r"0 thawed blocks .*use a smaller data.image_size or a smaller network"):
        guard_memory(run, TrainState())
    assert same_tensors(dict(run.network.state_dict()), before)


def test_memory_that_the_device_does_not_have_is_too_much(tmp_path: Path) -> None:
    """Whatever the limit says."""
    run, recorder = begin(tmp_path, "split", 1 << 50)

    def fail(_: nn.Module, inputs: Any) -> None:
        if run.thaw.thawed == 1 and len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has none.")

    run.network.segmentation_head.register_forward_pre_hook(fail)
    run.stepper = run.engine.set_up(run.optimizer)
    state = TrainState()
    guard_memory(run, state)
    assert state.micro_batch == 1
    assert "1 thawed block (from epoch 1 on) and 4 images at a time need more than there is" in warnings_of(recorder)[0]
    assert all(parameter.grad is None for parameter in run.network.parameters())


def test_the_stages_that_a_run_still_brings(tmp_path: Path) -> None:
    run = start_run(tmp_path, training={"epochs": 9}, teacher=False)  # thaws 6 blocks, one an epoch from the first on
    assert coming_stages(run, TrainState()) == {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}
    assert coming_stages(run, TrainState(epoch=5, step=10)) == {5: 5, 6: 6}
    assert coming_stages(run, TrainState(epoch=1, thaw_cap=2)) == {1: 1, 2: 2}
    run.options = replace(run.options, max_steps=5)  # whoever goes on from there needs the rest
    assert max(coming_stages(run, TrainState())) == 6
