"""The loop holds no more after a dozen epochs than after the first ones: objects and files are counted."""

from __future__ import annotations

import gc
import os
import statistics
import sys
from itertools import pairwise
from pathlib import Path
from types import MethodType

from tiny_runs import start_run

from snowmelt.reporting import MetricTables, RunFolder
from snowmelt.training import Listener, fit
from snowmelt.training.events import EpochEnded, Event

EPOCHS, SETTLED = 12, 4  # everything has thawed by epoch 4


class Counter(Listener):
    """Counts what the collector knows, and open files, at the end of every epoch."""

    def __init__(self) -> None:
        self.objects: list[int] = []
        self.files: list[int] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, EpochEnded):
            gc.collect()
            self.objects.append(sum(not _of_coverage(held) for held in gc.get_objects()))
            self.files.append(len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0)


def _of_coverage(held: object) -> bool:
    """Coverage keeps what it gave to each thread, ended ones as well: eight bound methods."""
    return isinstance(held, MethodType) and type(held.__self__).__module__.startswith("coverage.")


def test_objects_and_files_do_not_grow_with_epochs(tmp_path: Path) -> None:
    folder, counter = RunFolder(tmp_path / "run"), Counter()
    run = start_run(
        folder.checkpoints,
        listeners=(MetricTables(folder), counter),
        data={"source": "scenes:3"},
        thaw={"start": 0, "every": 1},
        training={"epochs": EPOCHS, "batch_size": 2, "average": 0.9},
        reactions={"thaw_guard": True, "block_warmup": 0.5},
    )
    fit(run)
    run.announcer.close()
    assert len(counter.objects) == EPOCHS
    first = SETTLED + len(run.thaw.blocks) - 3
    # What a leak adds, it adds in every epoch; what is imported or remembered once may come in any of them.
    growth = [after - before for before, after in pairwise(counter.objects[first:])]
    assert statistics.median_low(growth) <= 0, growth
    assert counter.files[-1] <= counter.files[first]
