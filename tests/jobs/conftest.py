"""One cycle for the room: a plain student, then a distilled one whose teacher is trained first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tiny_experiments import overheard, tiny, undrawn

from snowmelt.config import ExperimentConfig
from snowmelt.jobs import train_experiment


@dataclass(frozen=True)
class Cycle:
    """Where the runs lie, and what was said while they were made. Look, do not touch; ``cycle_copy`` is for that."""

    output: Path
    said_of_plain: str = ""
    said_of_distilled: str = ""

    def plain(self, **values: Any) -> ExperimentConfig:
        return tiny(self.output, "plain", **values)

    def distilled(self, **values: Any) -> ExperimentConfig:
        """Cools, and thaws its first block in the second of two epochs."""
        return tiny(self.output, "fine_tuning", **{"name": "distilled", "thaw": {"start": 1}, **values})

    @property
    def teacher(self) -> Path:
        [root] = (self.output / "teachers").iterdir()
        return root


@pytest.fixture(scope="session")
def cycle(tmp_path_factory: pytest.TempPathFactory) -> Cycle:
    runs = Cycle(tmp_path_factory.mktemp("cycle"))
    _, plain = overheard(train_experiment, runs.plain())
    _, distilled = overheard(train_experiment, runs.distilled())
    return Cycle(runs.output, plain, distilled)


@pytest.fixture
def cycle_copy(cycle: Cycle, tmp_path: Path) -> Cycle:
    """The same runs in a place of their own."""
    shutil.copytree(cycle.output, tmp_path / "runs")
    return Cycle(tmp_path / "runs")


@pytest.fixture
def draws_nothing() -> Iterator[None]:
    """Marks tests, or a file of them, that train and look at no plot."""
    with undrawn():
        yield
