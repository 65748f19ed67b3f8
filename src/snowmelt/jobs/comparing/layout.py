"""The folder of a comparison: what lies where, and that two comparisons do not write to one run."""

from __future__ import annotations

import fcntl
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch

from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.reporting import RunFolder
from snowmelt.training import Engine


@dataclass(frozen=True)
class CompareFolder:
    """``<output>/<name>-compare``; each of its runs is an ordinary run folder, ``<arm>-seed<k>``."""

    root: Path

    @classmethod
    def of(cls, config: ExperimentConfig) -> CompareFolder:
        """The folder of a comparison that starts from ``config``."""
        return cls(config.output / f"{config.name}-compare")

    @property
    def json_file(self) -> Path:
        return self.root / "comparison.json"

    @property
    def plot_file(self) -> Path:
        return self.root / "comparison.png"

    @property
    def budget_file(self) -> Path:
        """Epochs of each arm at equal seconds, decided once."""
        return self.root / "budget.json"

    @property
    def teacher_scores(self) -> Path:
        return self.root / "teacher_scores.npz"

    @property
    def cache_seconds_file(self) -> Path:
        """How long the pass of each teacher over the training images took, where it was made here."""
        return self.root / "cache_seconds.json"

    def run(self, arm: str, seed: int) -> RunFolder:
        """The run of one seed of one arm."""
        return RunFolder(self.root / run_name(arm, seed))

    def scores(self, arm: str, seed: int) -> Path:
        """Its matrices on what everybody is scored on."""
        return self.run(arm, seed).root / "comparison_scores.npz"

    def seeds_of(self, arm: str) -> list[int]:
        """Seeds of which a run is begun here, whoever asked for it, in rising order."""
        pattern = re.compile(re.escape(arm) + r"-seed(\d+)")
        names = [path.name for path in self.root.iterdir()] if self.root.is_dir() else []
        found = {int(match[1]) for name in names if (match := pattern.fullmatch(name))}
        return sorted(seed for seed in found if self.run(arm, seed).is_run)


def run_name(arm: str, seed: int) -> str:
    """Name of a run and of its folder."""
    return f"{arm}-seed{seed}"


@contextmanager
def held(engine: Engine, path: Path, waits: bool) -> Iterator[None]:
    """Hold ``path`` against other comparisons on this machine; the first process does it for all of its run.

    The lock ends with the process, however that ends.

    Args:
        waits: for whoever holds it; else that is an error.

    Raises:
        SnowmeltError: somebody else holds it.
    """
    with _opened(path) as file:
        taken = engine.rank == 0 and not _lock(file, waits)
        if int(engine.sum_over_processes(torch.tensor(int(taken), device=engine.device))):
            raise SnowmeltError(
                f"{path.parent}: another process trains {path.stem.lstrip('.')}; wait for it, or give other --seeds",
                code="run-busy",
            )
        yield


def _opened(path: Path) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a")
    except OSError as error:
        raise SnowmeltError(
            f"{path.parent}: cannot be made or written ({error}); choose a place you may write with --set output=DIR",
            code="file-unwritable",
        ) from error


def _lock(file: IO[str], waits: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if waits else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass  # a file system without locks: whoever is alone loses nothing
    return True
