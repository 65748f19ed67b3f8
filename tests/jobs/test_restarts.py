"""A run under ``torchrun --max-restarts`` comes back by itself, and nobody else's run is taken for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snowmelt.jobs.restarts import is_restarted, launcher
from snowmelt.reporting import RunFolder

TESTS = Path(__file__).resolve().parent.parent
AGENT = os.getppid()


def test_one_process_of_two_is_killed_and_the_run_ends_where_it_would_have(tmp_path: Path) -> None:
    """Before that the same process alone gets SIGTERM, and both stop; after it one breaks off while the other waits."""
    options = ["--nproc_per_node=2", "--max-restarts=1"]
    launch = [str(TESTS / "jobs" / "restarted_process.py"), str(tmp_path), *options]
    paths = [str(TESTS), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, *launch], capture_output=True, text=True, timeout=400, env=environment, check=False
    )
    assert (tmp_path / "ended").exists(), done.stderr[-3000:]
    assert (tmp_path / "ended").read_text() == "1 complete"
    stopped = [(tmp_path / f"stopped.{rank}").read_text() for rank in (0, 1)]
    assert stopped[0] == stopped[1] and stopped[0].startswith("stopped by SIGTERM at epoch ")
    cut, whole = (RunFolder(tmp_path / name) for name in ("cut", "whole"))
    assert cut.metrics_file.read_bytes() == whole.metrics_file.read_bytes()
    for name in ("last", "best"):
        left, right = ((folder.checkpoints / f"{name}.safetensors").read_bytes() for folder in (cut, whole))
        assert tensors_of(left) == tensors_of(right)
    logs = "".join(path.read_text() for path in sorted(cut.logs.glob("*.txt")))
    steps = re.findall(r"^\S+ \S+ step=(\d+) ", logs, re.MULTILINE)
    saved = torch.load(whole.checkpoints / "last.ckpt", weights_only=True)["state"]
    assert sorted(map(int, steps)) == list(range(1, saved["step"] + 1))
    assert done.returncode != 0 and (tmp_path / "lost").exists()  # the other one did not wait for ever


def tensors_of(safetensors: bytes) -> bytes:
    """Without the header, which names the run."""
    return safetensors[8 + int.from_bytes(safetensors[:8], "little") :]


@pytest.fixture
def under_torchrun(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    return monkeypatch


def test_a_run_is_gone_on_with_only_after_a_restart_by_whoever_began_it(
    under_torchrun: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def restarts(count: int) -> bool:
        under_torchrun.setenv("TORCHELASTIC_RESTART_COUNT", str(count))
        return is_restarted(tmp_path)

    assert not restarts(1)  # nothing there
    folder = RunFolder.create(tmp_path)
    folder.write_config({}, {})
    assert not restarts(1)  # begun without torchrun
    folder.write_config({}, {}, launcher())
    assert not restarts(0) and restarts(1) and restarts(2)
    under_torchrun.setenv("GROUP_WORLD_SIZE", "2")
    assert restarts(0)  # another machine may have counted it
    under_torchrun.setenv("GROUP_WORLD_SIZE", "1")
    under_torchrun.setattr(os, "getppid", lambda: AGENT + 1)
    assert not restarts(1)  # another torchrun of the same name
    under_torchrun.setattr("socket.gethostname", lambda: "elsewhere")
    assert not restarts(1)  # which on another machine says nothing
    under_torchrun.delenv("TORCHELASTIC_RUN_ID")
    assert launcher() is None and not restarts(1)


def test_after_a_machine_was_lost_the_name_of_the_launch_is_enough(
    under_torchrun: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    under_torchrun.setenv("TORCHELASTIC_RUN_ID", "job 7")
    under_torchrun.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    folder = RunFolder.create(tmp_path)
    folder.write_config({}, {}, launcher())
    under_torchrun.setattr("socket.gethostname", lambda: "elsewhere")
    assert is_restarted(tmp_path)
    folder.config_file.write_text("{")
    assert not is_restarted(tmp_path)  # is said where it matters
    folder.write_config({}, {}, "job")  # by another hand
    assert not is_restarted(tmp_path)
