"""One of the processes that ``torchrun`` starts for test_processes.py: trains and leaves the weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from tiny_runs import Recorder, network_without_batch_statistics, start_run

from snowmelt.training import fit
from snowmelt.training.events import EpochEnded

DATA: dict[str, Any] = {"augmentation": "light", "val_fraction": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    # In batches of 4 the last step has 3 images, so two processes hold unequal numbers of valid pixels.
    "plain": {"data": {**DATA, "source": "scenes:7"}},
    # In batches of 3 the last step has 2, so the last of three processes holds a filler.
    "everything": {
        "data": {**DATA, "source": "scenes:8"},
        "unlabelled": True,
        "distillation": {
            "cwd_weight": 1.0,
            "feature_weight": 1.0,
            "feature_layers": ["encoder.3", "decoder.1"],
            "weight_schedules": {"alpha": {"kind": "linear", "initial": 0.8, "final": 0.4}},
        },
    },
}


def main(folder: Path, batch_size: int, accumulate: int, variant: str) -> None:
    torch.set_num_threads(1)
    recorder = Recorder()
    run = start_run(
        folder,
        listeners=(recorder,),
        network=network_without_batch_statistics(),
        thaw={"start": 1, "every": 1, "lr_scale": 1.0},
        training={"epochs": 3, "batch_size": batch_size, "accumulate": accumulate},
        optimizer={"lr": 1e-3},
        **VARIANTS[variant],
    )
    fit(run)
    if run.engine.rank == 0:
        rows = [(event.record.train, event.record.val, event.record.miou) for event in recorder.of(EpochEnded)]
        learned = run.learner.state_dict()
        torch.save({"network": learned, "rows": rows}, folder / "result.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
