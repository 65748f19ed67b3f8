"""Loading processes that die are told of by their image, and none outlives its parent."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset
from snowmelt.data.loading import evaluation_loader, training_loader
from snowmelt.data.loading_processes import Board, death_of
from snowmelt.data.samples import Sample, Source
from snowmelt.data.sampling import StepSampler
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.transforms import build_evaluation_transform, build_transform
from snowmelt.errors import SnowmeltError

HERE = Path(__file__).parent

# PyTorch tells of a death from a signal handler, which may strike in any line and leave its open file behind.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Loaders whose processes died hang in the frames of errors; their threads are to end here, not in other tests."""
    yield
    gc.collect()


class Deadly(ScenesSource):
    """Whoever reads image 3 dies of ``cause``: a signal, or an exit code below 0."""

    cause: int = signal.SIGKILL

    def load(self, index: int) -> Sample:
        if index == 3:
            if self.cause < 0:
                os._exit(-self.cause)
            os.kill(os.getpid(), self.cause)
        return super().load(index)


def deadly(cause: int = signal.SIGKILL) -> Deadly:
    source = Deadly(6, 0, 16)
    source.cause = cause
    return source


def evaluated(source: Source, workers: int = 2) -> Iterator[object]:
    return iter(evaluation_loader(EvaluationDataset(source, build_evaluation_transform(16)), 2, workers))


def told(batches: Iterator[object]) -> str:
    with pytest.raises(SnowmeltError) as caught:
        for _ in batches:
            pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("cause", "expected", "advice"),
    [
        (signal.SIGKILL, "(SIGKILL)", "memory ran out"),
        (signal.SIGSEGV, "(SIGSEGV)", "may be damaged"),
        (signal.SIGBUS, "(SIGBUS)", "/dev/shm"),
        (-3, "(exit code 3)", "data.workers=0"),
    ],
)
def test_a_death_is_one_line_that_names_the_image(cause: int, expected: str, advice: str) -> None:
    line = told(evaluated(deadly(cause)))
    assert line.startswith(f"a process that loads images died {expected} at {deadly().name(3)}; ")
    assert advice in line


def test_a_death_in_training_names_the_image_not_its_place_in_the_order() -> None:
    data = AugmentedDataset(deadly(), build_transform("light", 16), 5)
    loader = training_loader(data, StepSampler(6, 2, 5), workers=1)
    assert f"(SIGKILL) at {deadly().name(3)};" in told(iter(loader))


def test_pytorchs_signal_may_come_anywhere_in_the_main_thread() -> None:
    """In the middle of a step, say, for which no batch is awaited."""
    with pytest.raises(SnowmeltError, match=rf"\(SIGKILL\) at {deadly().name(3)};"):
        batches = evaluated(deadly())
        next(batches)
        for _ in range(2000):
            time.sleep(0.01)


def test_without_that_signal_the_missing_batch_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.1,))  # seconds, in place of 5
    before = signal.getsignal(signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    monkeypatch.setattr(torch.utils.data._utils.signal_handling, "_set_SIGCHLD_handler", lambda: None)
    batches = evaluated(deadly())
    try:
        assert f"at {deadly().name(3)};" in told(batches)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_several_deaths_and_one_between_two_images() -> None:
    board, ends = Board(3), [SimpleNamespace(exitcode=code) for code in (-9, None, -9)]
    assert death_of([ends[1]], board, str) is None  # type: ignore[list-item]
    line = str(death_of(ends, board, str))  # type: ignore[arg-type]
    assert line.startswith("2 processes that load images died (SIGKILL) between two images; ")
    board._entries[:] = torch.tensor([5, 6, 7])
    line = str(death_of(ends, board, "image {}".format))  # type: ignore[arg-type]
    assert "(SIGKILL) at image 4, image 6; " in line


def test_the_board_is_empty_where_nobody_loads() -> None:
    board = Board(2)
    board.put(7)  # by the main process, which is on none
    assert [board.position(0), board.position(1)] == [None, None]


PARENT = """
import os, sys, time, torch
from test_loading_processes import Slow
from snowmelt.data import EvaluationDataset, build_evaluation_transform, evaluation_loader
loader = evaluation_loader(EvaluationDataset(Slow(64, 0, 16), build_evaluation_transform(16)), 1, 2)
batches = iter(loader)
next(batches)
print(*(each.pid for each in loader._iterator._workers), flush=True)
time.sleep(600)
"""


class Slow(ScenesSource):
    """Takes its time from the third image on, as a decoder may: longer than a test waits."""

    def load(self, index: int) -> Sample:
        if index > 2:
            time.sleep(60)
        return super().load(index)


def alive(pids: list[int]) -> list[int]:
    """Those processes that run; one that is dead and not yet fetched does not."""
    return [pid for pid in pids if (state := state_of(pid)) is not None and state != "Z"]


def state_of(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


def vanished(pids: list[int]) -> bool:
    """Whether none is left, waiting no longer than a busy machine may need."""
    deadline = time.monotonic() + 40
    while alive(pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
def test_no_loading_process_outlives_a_killed_parent() -> None:
    """Though each is in the middle of an image for another minute. Nor does a file stay in /dev/shm."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        try:
            assert parent.stdout is not None
            workers = [int(word) for word in parent.stdout.readline().split()]
            assert len(workers) == 2 and alive(workers) == workers
        finally:
            parent.kill()
    assert vanished(workers)
    assert not [name for name in os.listdir("/dev/shm") if f"_{parent.pid}_" in name]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are watched through /proc")
def test_no_loading_process_outlives_its_loader() -> None:
    loader = evaluation_loader(EvaluationDataset(ScenesSource(6, 0, 16), build_evaluation_transform(16)), 1, 1)
    assert len(list(loader)) == 6
    workers = [each.pid for each in loader._iterator._workers]  # type: ignore[union-attr]
    assert alive(workers) == workers
    del loader
    assert vanished(workers)


def test_batches_share_no_named_memory() -> None:
    """What travels from process to process has no name in /dev/shm, so that nothing of it can be left there."""
    assert torch.multiprocessing.get_sharing_strategy() == "file_descriptor"
