"""What a run will write is known before it is begun, and a disk without room for it is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_experiments import tiny

from snowmelt.build import make_network, open_data, refuse_without_room, refuse_without_room_for_all, settle
from snowmelt.build.space import BESIDE, run_bytes, run_need
from snowmelt.build.teacher import teacher_experiment
from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError


@pytest.fixture
def config(tmp_path: Path) -> ExperimentConfig:
    return tiny(tmp_path / "runs")


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))


def test_a_run_needs_four_checkpoints_and_five_files_of_weights(config: ExperimentConfig) -> None:
    network = make_network(config.student, 1, seed=0, with_weights=False).network
    parameters = sum(4 * each.numel() for each in network.parameters())
    weights = parameters + sum(each.numel() * each.element_size() for each in network.buffers())
    assert run_bytes(network, average=False) == BESIDE + 4 * (weights + 2 * parameters) + 5 * weights
    assert run_bytes(network, average=True) == run_bytes(network, average=False) + 4 * weights
    need = run_need(config, network, "it")
    checkpoints = need.place / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.ckpt").write_bytes(bytes(1000))
    assert run_need(config, network, "it").size == need.size - 1000  # a run that goes on has that already


def test_a_run_without_room_is_refused(config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    network = make_network(config.student, 1, seed=0, with_weights=False).network
    free(monkeypatch, BESIDE)
    with pytest.raises(SnowmeltError, match=r"are needed there \(checkpoints and weights \d+ MB\), but 34 MB are free"):
        refuse_without_room(config, network)
    training = config.training.model_copy(update={"check_space": False})
    refuse_without_room(config.model_copy(update={"training": training}), network)
    free(monkeypatch, 10**12)
    refuse_without_room(config, network)


def test_the_teacher_and_its_answers_count_before_it_is_trained(
    config: ExperimentConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = open_data(config)
    settled, _ = settle(config, len(splits.train), len(splits.classes))
    given: dict[str, Any] = {"config": settled, "splits": splits}
    free(monkeypatch, BESIDE)
    with pytest.raises(SnowmeltError, match=r"the teacher \d+ MB, the student \d+ MB, the teacher's answers 0 MB"):
        refuse_without_room_for_all(teacher=teacher_experiment(settled, splits), **given)
    answers = settled.output / "teacher-cache" / "there"
    answers.mkdir(parents=True)
    with pytest.raises(SnowmeltError, match=r"\(the student \d+ MB\), but"):
        refuse_without_room_for_all(teacher=None, **given)
