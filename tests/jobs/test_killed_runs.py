"""A run that is killed at random moments ends where it would have ended: the benchmark for it, with few kills."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

RELIABILITY = Path(__file__).resolve().parents[2] / "benchmarks" / "reliability"


def test_a_few_kills(tmp_path: Path) -> None:
    script = [str(RELIABILITY / "kill_anywhere.py"), "--kills", "4", "--no-exports", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *script],
        capture_output=True,
        text=True,
        timeout=580,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.startswith("4 kills in ") and "with the same bits" in done.stdout


def test_a_gap_a_double_and_another_order_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who compares must not be blind."""
    monkeypatch.syspath_prepend(str(RELIABILITY))
    log_lines = import_module("same_run").log_lines
    step, epoch = "step={0} in_epoch={1} loss=1", "epoch={0} miou=0.5"
    whole = [step.format(1, 0), epoch.format(0), step.format(2, 1), epoch.format(1)]

    def logged(name: str, *files: list[str]) -> list[str]:
        (tmp_path / name / "logs").mkdir(parents=True)
        for number, lines in enumerate(files):
            text = "".join(f"2026-01-01 00:00:00 {line}\n" for line in ["run x", *lines])
            (tmp_path / name / "logs" / f"training_log_{number}.txt").write_text(text)
        return log_lines(tmp_path / name)

    assert logged("whole", whole) == whole == logged("cut", whole[:1], whole[1:])
    assert logged("void", [*whole[:2], f"void {whole[2]}"], whole[2:]) == whole
    assert logged("gap", whole[:1], whole[2:]) != whole != logged("double", whole[:3], whole[2:])
