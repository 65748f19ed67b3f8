"""Listeners hold no more after hundreds of epochs than after some dozens."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from rich.console import Console

from snowmelt.reporting import (
    MetricTables,
    ProgressDisplay,
    RunFolder,
    RunSummary,
    TensorBoardLog,
    TextLog,
    ValidationScores,
)
from snowmelt.training import Listener

FIRST, LAST = 40, 160
BOUND = 1000  # bytes an epoch: the lines of the tables are kept, for files that vanish; a row as objects has thousands


def test_memory_does_not_grow_with_epochs(folder: RunFolder, fake_run: Callable) -> None:
    run = fake_run(epochs=LAST, classes=3)
    with open("/dev/null", "w") as nowhere:
        display = ProgressDisplay(folder, console=Console(file=nowhere), live=False)
        tables: list[Listener] = [MetricTables(folder), ValidationScores(folder), TextLog(folder)]
        listeners = [*tables, TensorBoardLog(folder), display, RunSummary(folder)]
        sizes = []
        tracemalloc.start()
        try:
            for listener in listeners:
                listener.receive(run.started())
            for epoch in range(LAST):
                for event in run.epoch(epoch):
                    for listener in listeners:
                        listener.receive(event)
                if epoch in (FIRST, LAST - 1):
                    sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
            for listener in listeners:
                listener.close()
    assert sizes[1] - sizes[0] < BOUND * (LAST - FIRST)
