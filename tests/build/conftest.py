"""A tiny experiment with its data, opened once for the room."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_experiments import tiny

from snowmelt.build import make_engine, open_data, settle
from snowmelt.config import ExperimentConfig
from snowmelt.data import Splits
from snowmelt.training import Engine


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings with the default output folder leave an index of their data in it: not among the sources."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def engine() -> Engine:
    return make_engine(tiny(Path()))


@pytest.fixture(scope="session")
def splits() -> Splits:
    return open_data(tiny(Path()))


@pytest.fixture
def config(tmp_path: Path, splits: Splits) -> ExperimentConfig:
    """Settled: every choice is made."""
    return settle(tiny(tmp_path), len(splits.train), len(splits.classes))[0]
