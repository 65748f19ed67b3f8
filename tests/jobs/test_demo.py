"""``demo``: teach, plan, distil, score; a second demo keeps the teacher and moves the student aside."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_experiments import overheard, tiny, undrawn

from snowmelt.config_manager import ConfigManager
from snowmelt.jobs import run_demo


def test_the_whole_cycle_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def registered(name: str) -> object:
        asked.append(name)
        return config

    config = tiny(tmp_path, "demo", training={"max_steps": 1, "epochs": 12})
    monkeypatch.setattr(ConfigManager, "get_config", staticmethod(registered))
    _, said = overheard(run_demo)
    assert asked == ["demo"]
    steps = ["[1/4] teach", "trained first", "[2/4] plan", "T from -> to", "[3/4] distil", "is reused", "[4/4] score"]
    positions = [said.index(step) for step in steps]
    assert positions == sorted(positions)
    assert "demo on 4 test images" in said
    assert "EMBEDDED DATA" in said
    assert (tmp_path / "demo" / "test_scores.json").is_file()

    with undrawn():
        _, said = overheard(run_demo)
    assert "trained first" not in said
    assert len(list(tmp_path.glob("demo.old-*"))) == 1
    assert (tmp_path / "demo" / "test_scores.json").is_file()
