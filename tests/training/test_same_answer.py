"""The same seed gives the same bits on the CPU, whoever loads the images and wherever they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_runs
import torch
from tiny_experiments import write_data_folder

from snowmelt.build import make_engine, open_data, store_pictures
from snowmelt.config import ExperimentConfig
from snowmelt.data import Splits
from snowmelt.reporting import MetricTables, RunFolder
from snowmelt.training import fit


def train(root: Path, data: Path, **settings: Any) -> Path:
    """A run with a teacher on a folder of pictures that are larger than the networks see, across two thaws."""
    folder = RunFolder(root)
    run = tiny_runs.start_run(
        folder.checkpoints,
        listeners=(MetricTables(folder),),
        output=root.parent,
        data={"source": str(data), "store": "none", **settings},
        training={"epochs": 3},
    )
    fit(run)
    run.announcer.close()
    return root


def assert_same(root: Path, reference: Path) -> None:
    ends = [torch.load(RunFolder(each).checkpoints / "last.ckpt", weights_only=True) for each in (root, reference)]
    for part in ("network", "optimizer", "state"):
        assert tiny_runs.same_tensors(ends[0][part], ends[1][part]), part
    assert RunFolder(root).metrics_file.read_bytes() == RunFolder(reference).metrics_file.read_bytes()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_folder(tmp_path_factory.mktemp("same") / "data", count=7, size=200)


@pytest.fixture(scope="module")
def reference(data: Path) -> Path:
    return train(data.parent / "reference", data)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_across_runs_and_numbers_of_workers(workers: int, data: Path, reference: Path, tmp_path: Path) -> None:
    assert_same(train(tmp_path / "run", data, workers=workers), reference)


@pytest.mark.parametrize("store", ["disk", "memory"])
def test_with_and_without_the_image_store(
    store: str, data: Path, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filled by this run, and on the disk found by the next."""
    said: list[str] = []

    def stored(config: ExperimentConfig) -> Splits:
        return store_pictures(config, open_data(config), make_engine(config), said.append)

    monkeypatch.setattr(tiny_runs, "open_data", stored)
    assert_same(train(tmp_path / "filling", data, store=store), reference)
    assert "7 of 7 images read now" in said[-1]
    if store == "disk":
        assert_same(train(tmp_path / "reading", data, store=store), reference)
        assert "all 7 images" in said[-1]


def test_another_seed_is_another_run(data: Path, reference: Path, tmp_path: Path) -> None:
    """So that what is compared above can differ at all."""
    folder = RunFolder(tmp_path / "run")
    run = tiny_runs.start_run(folder.checkpoints, seed=1, data={"source": str(data)}, training={"epochs": 1})
    fit(run)
    ends = [
        torch.load(each / "last.ckpt", weights_only=True) for each in (folder.checkpoints, reference / "checkpoints")
    ]
    assert not tiny_runs.same_tensors(ends[0]["network"], ends[1]["network"])
