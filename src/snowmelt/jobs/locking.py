"""That two processes do not write to one folder: a run, a teacher's training, a cache that is being filled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import torch

from snowmelt.disk import Held, Lock, WriteError, holder_of
from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine

POLL_SECONDS = 0.5
RUNNING = "another run is writing there"
NEW_NAME = "wait for it, or choose another name with --run-name"

Say = Callable[[str], None]


def lock_of(root: Path) -> Path:
    """The lock of a folder. It lies beside it, so it also holds while the folder is moved aside, or is gone."""
    real = root.resolve()
    return real.with_name(f".{real.name}.lock")


def refuse_held(root: Path) -> None:
    """Raises ``SnowmeltError`` where a run is being written to ``root`` right now."""
    holder = holder_of(lock_of(root))
    if holder is not None:
        raise SnowmeltError(f"{root}: {RUNNING} ({holder}); {NEW_NAME}", code="run-busy")


def held_run(engine: Engine, root: Path, advice: str = NEW_NAME) -> AbstractContextManager[None]:
    """Hold the folder of a run for as long as something is written there.

    Raises:
        SnowmeltError: another run writes there now.
    """
    return held(engine, lock_of(root), f"{root}: {RUNNING}", advice=advice)


@contextmanager
def held(
    engine: Engine,
    path: Path,
    what: str,
    *,
    advice: str = "wait for it",
    waits: bool = False,
    say: Say | None = None,
    needed: bool = True,
) -> Iterator[None]:
    """Hold the lock ``path`` for all processes of this run; the first one does it. It ends with that process at last.

    Args:
        what: is being done by whoever holds it, for the message: ``a run is being written there``.
        advice: what to do where somebody else has it and this does not wait.
        waits: for whoever has it, and says so once.
        needed: ``False`` goes on without it where it cannot be made: nothing can be written there at all.

    Raises:
        SnowmeltError: somebody else holds it, or it cannot be made.
    """
    lock: Lock | None = None
    error: SnowmeltError | None = None
    if engine.rank == 0:
        try:
            lock = _taken(path, what, advice, waits, say)
        except WriteError as cannot:
            if needed:
                error = SnowmeltError(f"{cannot}; --set output=DIR chooses another place", code=cannot.code)
        except SnowmeltError as refused:
            error = refused
    if int(engine.sum_over_processes(torch.tensor(int(error is not None), device=engine.device))):
        raise error or SnowmeltError(
            f"{path}: the first process could not hold it; its own message says why", code="run-busy"
        )
    try:
        yield
    finally:
        if lock is not None:
            lock.release()


def _taken(path: Path, what: str, advice: str, waits: bool, say: Say | None) -> Lock:
    said = False
    while True:
        try:
            return Lock(path)
        except Held as error:
            if not waits or error.doubtful:
                text = f"{what} ({error.who}); {error.advice if error.doubtful else advice}"
                raise SnowmeltError(text, code="run-busy") from error
            if not said and say is not None:
                say(f"{what} ({error.who}); this waits for it")
                said = True
        time.sleep(POLL_SECONDS)
