"""The script that damages checkpoints finds what is not told apart, and nothing of ours is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "reliability" / "damage.py"


@pytest.fixture(scope="module")
def damage() -> ModuleType:
    spec = importlib.util.spec_from_file_location("damage", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_mutation_of_ours_is_told_apart_and_pytorch_alone_notices_little(
    damage: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    count = str(len(damage.MUTATIONS))
    monkeypatch.setattr(sys, "argv", ["damage.py", "--count", count])
    assert damage.main() == 0
    assert f"{count} mutations: {count} told apart, 0 harmless, 0 wrong" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["damage.py", "--count", "1", "--bare"])  # a single bit
    assert damage.main() == 1
    assert "1 mutations: 0 told apart, 0 harmless, 1 wrong" in capsys.readouterr().out
