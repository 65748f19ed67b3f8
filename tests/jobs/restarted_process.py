"""``torchrun`` for test_restarts.py, whose two processes it starts, and starts again, as forks of itself.

They have imported then what a program of their own would import four times in all, which took longer than the rest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from signal import Signals
from typing import Any

import lightning_fabric.strategies  # noqa: F401  # what is imported late: here, so that no fork has to
import torch
from forking_torchrun import launch
from tiny_experiments import tiny

from snowmelt.errors import SnowmeltError, Stopped
from snowmelt.jobs import catching_signals, running, train_experiment
from snowmelt.jobs.session import open_session
from snowmelt.training import TrainState, loop

STOPPED_AT, KILLED_AT = 1, 5
SETTINGS: dict[str, Any] = {
    "data": {"source": "scenes:6"},
    "training": {"epochs": 3, "batch_size": 1, "checkpoint_every": 1, "log_every": 1},
}


def strike(state: TrainState, rank: int) -> None:
    """The second process alone gets a signal; the first learns of it."""
    if rank == 1 and state.step == STOPPED_AT:
        os.kill(os.getpid(), Signals.SIGTERM)
    if rank == 1 and state.step == KILLED_AT:
        os.kill(os.getpid(), Signals.SIGKILL)


def work(output: Path) -> None:
    for name in ("finish", "give_advice", "write_report"):  # takes time, and has tests of its own
        setattr(running, name, lambda *_: None)
    incarnation = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    cut = tiny(output, "plain", **SETTINGS, name="cut")
    if incarnation == 0:
        train_experiment(tiny(output, "plain", **SETTINGS, name="whole"))
        tell = loop.announce_step

        def tell_and_strike(run: Any, state: TrainState, *rest: Any) -> None:
            tell(run, state, *rest)
            strike(state, run.engine.rank)

        loop.announce_step = tell_and_strike  # type: ignore[assignment]
        with catching_signals():
            try:
                train_experiment(cut)
            except Stopped as stopped:
                (output / f"stopped.{os.environ['RANK']}").write_text(str(stopped))
        train_experiment(cut, resume=True)
        raise AssertionError("was not killed")
    record = train_experiment(cut)  # by itself: neither --resume nor --overwrite was given
    engine = open_session(cut, check=False).engine
    if engine.rank == 0:
        (output / "ended").write_text(f"{incarnation} {record['reason']}")
        raise SnowmeltError("one process breaks off, and the other waits for it", code="anything")
    with catching_signals():  # as a command: torchrun's SIGTERM alone does not end it
        try:
            engine.barrier()
        except RuntimeError as error:
            (output / "lost").write_text(str(error))


if __name__ == "__main__":
    torch.set_num_threads(1)
    launch(sys.argv[2:], work, Path(sys.argv[1]))
