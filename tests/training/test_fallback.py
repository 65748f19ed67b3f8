"""A run whose last checkpoint is damaged goes on from the one before it, to the same bits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import Recorder, same_tensors, start_run
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import read_metadata
from snowmelt.reporting import MetricTables, RunFolder
from snowmelt.training import Checkpoints, TrainState, fit, has_checkpoint
from snowmelt.training.events import Message, RunStarted


class Saved:
    """The checkpoints of a network of one weight, which is the step; no training behind them."""

    def __init__(self, folder: Path) -> None:
        self.checkpoints = Checkpoints(folder, {}, {})
        self.network = nn.Linear(1, 1, bias=False)
        self.optimizer = torch.optim.SGD(self.network.parameters())

    def save(self, step: int) -> None:
        nn.init.constant_(self.network.weight, step)
        self.checkpoints.save_last(TrainState(step=step), self.network, self.optimizer)

    def load(self) -> int | None:
        state = self.checkpoints.load_last(self.network, self.optimizer)
        if state is None:
            return None
        assert self.network.weight.item() == state.step
        self.checkpoints.settle(state)
        return state.step

    @property
    def steps(self) -> list[int]:
        """Of the last and the one before it, as PyTorch reads them."""
        files = (self.checkpoints.last, self.checkpoints.previous)
        return [torch.load(path, weights_only=True)["state"]["step"] for path in files]


@pytest.fixture
def saved(tmp_path: Path) -> Saved:
    saved = Saved(tmp_path)
    saved.save(1)
    saved.save(2)
    return saved


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "empty": (lambda path: path.write_bytes(b""), "is empty"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-99]), "is cut short: it ends after"),
    "flipped": (flip, "is damaged: its bits are not those that were written"),
    "foreign": (lambda path: path.write_bytes(b"a letter\n" * 99), "is no checkpoint of Snowmelt"),
    "format": (lambda path: torch.save({"format": 99}, path), "was written by another version of Snowmelt"),
    "gone": (lambda path: path.unlink(), "is missing"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_one_before_is_taken_and_it_is_said(damage: str, saved: Saved) -> None:
    spoil, what = DAMAGES[damage]
    last, previous = saved.checkpoints.last, saved.checkpoints.previous
    spoil(last)
    again = Saved(saved.checkpoints.folder)
    assert again.load() == 1
    [notice] = again.checkpoints.notices
    assert notice.startswith(f"{last}: {what}")
    assert notice.endswith(f"; this goes on from the one before it, {previous} (epoch 0, step 1)")
    assert last.with_name("last.ckpt.damaged").exists() == (damage != "gone")
    again.save(5)
    assert again.steps == [5, 1]  # the whole one did not give way to the damaged one


def test_both_damaged(saved: Saved) -> None:
    last, previous = saved.checkpoints.last, saved.checkpoints.previous
    flip(last)
    previous.write_bytes(b"")
    with pytest.raises(SnowmeltError) as refused:
        saved.load()
    assert str(refused.value) == (
        f"{last}: is damaged: its bits are not those that were written; {previous}: is empty; "
        "start anew with --overwrite or --run-name"
    )
    previous.unlink()
    with pytest.raises(SnowmeltError, match=r"last\.ckpt: is damaged.*, and there is none before it; start anew"):
        saved.load()


def test_a_whole_one_needs_no_word(saved: Saved) -> None:
    flip(saved.checkpoints.previous)
    assert saved.load() == 2 and not saved.checkpoints.notices
    assert Saved(saved.checkpoints.folder / "none").load() is None


def test_one_of_them_is_whole_at_every_moment(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut a save at each call that changes the folder."""
    real = {name: getattr(os, name) for name in ("replace", "link", "unlink", "fsync")}
    calls = limit = 0

    def watched(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > limit:
                raise KeyboardInterrupt
            return real[name](*arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(os, name, watched(name))
    newest, ended = 2, False
    while not ended and limit < 30:
        calls = 0
        try:
            saved.save(newest + 1)
        except KeyboardInterrupt:
            pass
        else:
            ended = True
        last, previous = saved.steps
        assert last in (newest, newest + 1) and previous in (newest - 1, newest)
        newest, limit = last, limit + 1
    assert ended and limit > 7 and (last, previous) == (newest, newest - 1)
    assert has_checkpoint(saved.checkpoints.folder)


def test_without_hard_links_they_are_kept_too(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    saved.save(3)
    assert saved.steps == [3, 2]


def train(root: Path, max_steps: int | None = None) -> tuple[TrainState, Recorder]:
    folder, recorder = RunFolder(root), Recorder()
    training = {"epochs": 2, "checkpoint_every": 1, "max_steps": max_steps}
    return fit(start_run(folder.checkpoints, listeners=(MetricTables(folder), recorder), training=training)), recorder


def test_the_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """The checkpoint before the last is of an epoch earlier: its row, and the best weights since, are void."""
    root, whole = tmp_path / "run", tmp_path / "whole"
    train(whole)
    train(root, max_steps=3)
    checkpoints = RunFolder(root).checkpoints
    before = torch.load(checkpoints / "previous.ckpt", weights_only=True)["state"]
    flip(checkpoints / "last.ckpt")
    state, recorder = train(root)
    assert state.step == 4
    [started] = recorder.of(RunStarted)
    assert (started.first_epoch, started.first_step) == (before["epoch"], before["step"])
    warnings = [event.text for event in recorder.of(Message) if event.level == "warning"]
    assert [text for text in warnings if "this goes on from the one before it" in text]
    left, right = (torch.load(RunFolder(each).checkpoints / "last.ckpt", weights_only=True) for each in (root, whole))
    assert same_tensors(left["network"], right["network"]) and same_tensors(left["optimizer"], right["optimizer"])
    assert left["state"] == right["state"]
    assert RunFolder(root).metrics_file.read_bytes() == RunFolder(whole).metrics_file.read_bytes()
    name = "checkpoints/best.safetensors"
    assert (root / name).read_bytes() == (whole / name).read_bytes()
    assert read_metadata(root / name)["best_epoch"] == left["state"]["best_epoch"]


def test_processes_that_see_different_checkpoints_are_refused(tmp_path: Path) -> None:
    run = start_run(tmp_path)
    run.engine.largest = lambda *values: [max(each, 3) for each in values]  # type: ignore[method-assign]  # as if the other had read step 3
    with pytest.raises(SnowmeltError, match="the processes read different checkpoints there"):
        fit(run)
