"""Shared by all tests: one thread per process, no network, and no clock that decides whether a test passes."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import gc
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

torch.set_num_threads(1)

# Examples take as long as the machine is busy; what is slow there is not wrong.
hypothesis.settings.register_profile(
    "snowmelt", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow], print_blob=True
)
hypothesis.settings.register_profile("snowmelt-ci", hypothesis.settings.get_profile("snowmelt"), derandomize=True)
hypothesis.settings.load_profile("snowmelt-ci" if os.environ.get("CI") else "snowmelt")

# A shell's background starts its commands with SIGINT ignored, and what is ignored stays so: also in what tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# They spend their time in calls of timm and PyTorch, which measuring makes half as slow again, and what they run of
# Snowmelt nearly all is run by other tests, too.
UNMEASURED = {
    *("models/test_blocks.py", "models/test_encoder_search.py", "models/test_features.py", "models/test_identify.py"),
    *("models/test_thaw.py", "teachers/test_teacher_weights.py", "jobs/test_resumed_job.py"),
    *(f"training/test_{name}.py" for name in ("feature_training", "loop", "precisions", "reactions", "resume")),
    *(f"training/test_{name}.py" for name in ("same_answer", "step", "waits")),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    assert all((tests / name).exists() for name in UNMEASURED), "a file of UNMEASURED has another name now"
    for item in items:
        if config.pluginmanager.hasplugin("_cov") and item.path.relative_to(tests).as_posix() in UNMEASURED:
            item.add_marker("no_cover")


_connect = socket.socket.connect


def _connect_locally(self: socket.socket, address: Any) -> None:
    """Refuse what leaves the machine, so that a test does the same with and without a network."""
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"tests have no network, but something asked for {address[0]}")
    _connect(self, address)


socket.socket.connect = _connect_locally  # type: ignore[method-assign]

_frozen = 0


def pytest_runtest_setup() -> None:
    """Tell the garbage collector, once and after further large imports, that what is there by now stays.

    Every thaw calls it, and looking through half a million objects of libraries took longer than the steps between.
    """
    global _frozen
    if len(sys.modules) > _frozen + 200:
        _frozen = len(sys.modules)
        gc.collect()
        gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # else libraries that count what is left at the end speak of leaks
