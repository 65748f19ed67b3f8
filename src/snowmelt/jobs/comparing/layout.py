"""The folder of a comparison: what lies where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from snowmelt.config import ExperimentConfig
from snowmelt.reporting import RunFolder


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
