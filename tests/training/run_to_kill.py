"""The run that test_resume.py kills: saves after every step, and is slow enough to be hit."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch
from tiny_runs import start_run

from snowmelt.reporting import MetricTables, RunFolder
from snowmelt.training import Listener, fit
from snowmelt.training.events import Event, StepEnded


class Brake(Listener):
    def receive(self, event: Event) -> None:
        if isinstance(event, StepEnded):
            time.sleep(0.5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = RunFolder(Path(sys.argv[1]))
    fit(start_run(folder.checkpoints, listeners=(MetricTables(folder), Brake()), training={"checkpoint_every": 1}))
