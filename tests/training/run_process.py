"""One of the processes that ``torchrun`` starts for test_processes.py: trains and leaves the weights."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from tiny_runs import Recorder, network_without_batch_statistics, start_run

from snowmelt.training import fit
from snowmelt.training.events import EpochEnded


def main(folder: Path, batch_size: int, accumulate: int) -> None:
    torch.set_num_threads(1)
    recorder = Recorder()
    run = start_run(
        folder,
        listeners=(recorder,),
        network=network_without_batch_statistics(),
        data={"source": "scenes:7", "augmentation": "light", "val_fraction": 0.1},
        thaw={"start": 1, "every": 1, "lr_scale": 1.0},
        training={"epochs": 3, "batch_size": batch_size, "accumulate": accumulate},
        optimizer={"lr": 1e-3},
    )
    fit(run)
    if run.engine.rank == 0:
        rows = [(event.record.train, event.record.val, event.record.miou) for event in recorder.of(EpochEnded)]
        torch.save({"network": run.network.state_dict(), "rows": rows}, folder / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
