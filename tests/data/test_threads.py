"""Threads beside the arithmetic compute alone, and change nothing for the thread that they help."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from snowmelt.data.ahead import made_ahead
from snowmelt.data.threads import compute_alone


@pytest.fixture
def four_threads() -> object:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def threads_of_process() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def wait_for_ending_threads() -> None:
    """Helpers of a thread that has ended are gone a little later; counting goes wrong in between."""
    seen: list[int] = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        seen.append(threads_of_process())
        time.sleep(0.02)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.skipif(sys.platform != "linux", reason="counts threads through /proc")
def test_no_helpers_are_started() -> None:
    def helpers() -> int:
        before = threads_of_process()
        (torch.randn(1000, 1000) * 2).sum()
        return threads_of_process() - before

    (torch.randn(1000, 1000) * 2).sum()  # the main thread has its helpers
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(helpers).result() == 3
    wait_for_ending_threads()
    with ThreadPoolExecutor(1, initializer=compute_alone) as pool:
        assert pool.submit(helpers).result() == 0
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("four_threads")
def test_batches_ahead_are_made_alone() -> None:
    asked = (torch.get_num_threads() for _ in range(3))
    assert list(made_ahead(asked)) == [1, 1, 1]
    assert torch.get_num_threads() == 4
