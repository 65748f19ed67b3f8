"""Every settings file in the repository is found, built and stepped once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_experiments import TINY, write_data_folder

from snowmelt.config import merge, with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.jobs import running, train_experiment

ROOT = Path(__file__).parents[1]
FILES = sorted(path for folder in ("benchmarks", "examples") for path in (ROOT / folder).rglob("*.y*ml"))


def test_there_are_some() -> None:
    assert len(FILES) >= 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_file_trains(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("draw_plots", "draw_predictions"):  # nobody looks at them, and they take longer than so short a run
        monkeypatch.setattr(running, name, lambda *_: {})
    data = write_data_folder(tmp_path / "data", count=6)
    one = {"training": {"epochs": 1}, "teacher": {"epochs": 1, "network": {"decoder_channels": [16, 8, 8, 8, 8]}}}
    tiny = merge(TINY, {"data": {"source": str(data), "mask_folder": "masks"}, **one})
    config = with_values(ConfigManager.get_config(str(path)), merge(tiny, {"output": str(tmp_path / "runs")}))
    outcome = train_experiment(config)
    assert outcome["reason"] == "complete"
    assert (tmp_path / "runs" / config.name / "checkpoints" / "best.safetensors").exists()
