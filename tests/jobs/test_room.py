"""A run for which the disk is too small is refused before anything is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.errors import SnowmeltError
from snowmelt.jobs import train_experiment


@pytest.mark.parametrize("name", ["plain", "unscheduled"])
def test_nothing_is_begun(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(SnowmeltError, match=r"but 1 MB are free; free some space, .* training.check_space=false"):
        overheard(train_experiment, tiny(tmp_path, name))
    assert not list(tmp_path.rglob("*.ckpt")) and not (tmp_path / "teachers").exists()


def test_a_store_that_was_asked_for_needs_room_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data_folder(tmp_path / "data")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000))
    config = tiny(tmp_path / "runs", "plain", data={"source": str(data), "store": "disk"})
    with pytest.raises(SnowmeltError, match=r"\(decoded pictures 0 MB\), but 0 MB are free; set data.store_folder"):
        overheard(train_experiment, config)
