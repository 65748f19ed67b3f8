"""The best weights are those that the checkpoint knows of which a run goes on from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch import nn

from snowmelt.models import read_metadata
from snowmelt.training.best_weights import BestWeights
from snowmelt.training.state import TrainState


def network_of(value: float) -> nn.Module:
    network = nn.Linear(1, 1)
    nn.init.constant_(network.weight, value)
    return network


def save(best: BestWeights, epoch: int, miou: float) -> TrainState:
    """Weights that tell their mIoU, and the state that counts them as the best."""
    best.save(network_of(miou), {"best_epoch": epoch, "best_miou": miou})
    return TrainState(epoch=epoch + 1, best_epoch=epoch, best_miou=miou)


def value_of(folder: Path) -> float:
    return round(load_file(folder / "best.safetensors")["weight"].item(), 3)


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "best.safetensors")


def test_what_a_checkpoint_counts_is_kept_and_what_none_counts_is_not(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    for epoch, miou in ((0, 0.1), (1, 0.2), (2, 0.3)):
        best.count(save(best, epoch, miou))
    assert kept(tmp_path) == ["best.epoch-1.safetensors"]  # the previous checkpoint's
    state = TrainState(epoch=4, best_epoch=2, best_miou=0.3)
    best.count(state)
    assert kept(tmp_path) == []  # both count the ones that lie there


def test_they_are_taken_back_for_an_older_checkpoint(tmp_path: Path) -> None:
    """The newest is damaged, and two bests have been saved since the one before it."""
    best = BestWeights(tmp_path)
    older = save(best, 0, 0.1)
    best.count(older)
    best.count(save(best, 1, 0.2))
    save(best, 2, 0.3)  # and cut before its checkpoint
    again = BestWeights(tmp_path)
    again.take_back(older)
    assert value_of(tmp_path) == 0.1 and read_metadata(tmp_path / "best.safetensors")["best_epoch"] == 0
    again.take_back(older)  # nothing left to do
    assert value_of(tmp_path) == 0.1


def test_a_partial_epoch_that_was_the_best_gives_way_when_it_is_completed(tmp_path: Path) -> None:
    """A run stopped inside an epoch scores a state that the uninterrupted run never scores."""
    best = BestWeights(tmp_path)
    complete = save(best, 0, 0.5)
    best.count(complete)
    save(best, 1, 0.9)
    again = BestWeights(tmp_path)
    again.take_back(complete)
    assert value_of(tmp_path) == 0.5
    save(again, 1, 0.7)
    assert value_of(tmp_path) == 0.7


def test_an_older_version_called_them_complete(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    complete = save(best, 0, 0.5)
    (tmp_path / "best.safetensors").rename(tmp_path / "best.complete.safetensors")
    save(best, 1, 0.9)
    BestWeights(tmp_path).take_back(complete)
    assert value_of(tmp_path) == 0.5


def test_without_hard_links_there_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    best = BestWeights(tmp_path)
    older = save(best, 0, 0.1)
    save(best, 1, 0.2)
    assert not os.path.samefile(tmp_path / "best.safetensors", tmp_path / "best.epoch-0.safetensors")
    BestWeights(tmp_path).take_back(older)
    assert value_of(tmp_path) == 0.1


def test_damaged_weights_are_in_nobodys_way(tmp_path: Path) -> None:
    best = BestWeights(tmp_path)
    (tmp_path / "best.safetensors").write_bytes(b"broken")
    state = save(best, 0, 0.1)
    best.take_back(state)
    assert value_of(tmp_path) == 0.1
