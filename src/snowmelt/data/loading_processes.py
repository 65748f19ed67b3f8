"""Processes that load images: which image each is on, what to say when one dies, and that none outlives its parent."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch.utils.data import get_worker_info

from snowmelt.errors import SnowmeltError

_PR_SET_PDEATHSIG = 1  # of Linux' prctl

_ADVICE = {
    "SIGKILL": "usually memory ran out: fewer loading processes (data.workers) need less, and 0 the least",
    "SIGSEGV": "its file may be damaged: look at it, or take it out of the data",
    "SIGBUS": "usually /dev/shm is too small: enlarge it, or load without processes (data.workers=0)",
}
_OTHERWISE = "data.workers=0 loads without processes"


class Board:
    """The position that each loading process reads at this moment, in memory that all of them share.

    What a process has written stays when it dies, however suddenly. One 8-byte store an image is all it costs.
    """

    def __init__(self, processes: int) -> None:
        self._entries = torch.zeros(processes, dtype=torch.int64).share_memory_()

    def put(self, position: int | None) -> None:
        """Note what the calling loading process is on; ``None``: nothing. Elsewhere than in one nothing happens."""
        info = get_worker_info()
        if info is not None:
            self._entries[info.id] = 0 if position is None else position + 1

    def position(self, process: int) -> int | None:
        """What a process is on, or was when it died."""
        entry = int(self._entries[process])
        return entry - 1 if entry else None


def death_of(processes: Iterable[BaseProcess], board: Board, name_of: Callable[[int], str]) -> SnowmeltError | None:
    """One line about those loading processes that died, with the images that they were on; ``None`` if none has."""
    dead = [(number, each.exitcode) for number, each in enumerate(processes) if each.exitcode]
    if not dead:
        return None
    positions = [board.position(number) for number, _ in dead]
    names = ", ".join(name_of(position) for position in positions if position is not None)
    code = dead[0][1] or 0
    cause = signal_name(-code) if code < 0 else f"exit code {code}"
    count = "a process that loads images" if len(dead) == 1 else f"{len(dead)} processes that load images"
    where = f"at {names}" if names else "between two images"
    return SnowmeltError(
        f"{count} died ({cause}) {where}; {_ADVICE.get(cause, _OTHERWISE)}", code="loading-process-died"
    )


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def die_with_parent() -> None:
    """Let this loading process end at the moment in which its parent does, whatever ended that.

    PyTorch's own look at the parent comes only between two batches, and every five seconds. Linux only; elsewhere
    that look has to do.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():  # it died before it was asked for
        os._exit(1)


def explain_deaths(explain: Callable[[], SnowmeltError | None]) -> None:
    """From now on a loading process's death is told in the words of ``explain``.

    PyTorch learns of it by a signal and raises wherever the main thread is just then, in the middle of a training step
    for one, with the process's number alone. What ``explain`` gives is raised in its place.
    """
    known: Any = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    if not callable(known) or hasattr(known, "explains"):
        return

    def handler(number: int, frame: Any) -> None:
        try:
            known(number, frame)
        except RuntimeError as error:
            told = explain()
            if told is None:
                raise
            raise told from error

    handler.explains = True  # type: ignore[attr-defined]
    try:
        signal.signal(signal.SIGCHLD, handler)
    except ValueError:  # not the main thread, in which alone PyTorch learns of it, too
        return
