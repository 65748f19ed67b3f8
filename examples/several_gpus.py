"""Several GPUs: the same training in several processes, started with torchrun.

    python examples/several_gpus.py [FOLDER]                                       starts the processes itself
    torchrun --nproc-per-node 4 examples/several_gpus.py FOLDER                    starts them by hand
    torchrun --nnodes 2 --node-rank 0 --master-addr HOST --nproc-per-node 8 ...    on the first of two machines

Without a GPU two processes share the CPU (gloo), which shows that it works and is no faster. Each process takes its
share of every batch: ``batch_size`` counts per process. docs/scale.md has what to watch on several machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from snowmelt.jobs import prepare, train_experiment


def command(folder: Path, processes: int) -> list[str]:
    """What starts ``processes`` copies of this file on this machine."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*launcher, str(Path(__file__).resolve()), str(folder)]


def train(folder: Path) -> None:
    """Runs in every process alike; only the first one writes and prints."""
    experiment = prepare(
        "auto",
        data="scenes:16",
        image_size=64,
        epochs=2,
        batch_size=2,
        run_name="several-gpus",
        overrides=[
            f"output={folder / 'experiments'}",
            # Small and quick, as in own_data.py.
            "student={encoder: tu-mobilenetv3_small_050, weights: none, decoder_channels: [32, 16, 16, 8, 8]}",
            "teacher.network={encoder: tu-mobilenetv3_small_050, weights: none}",
            "thaw={start: 1, every: 1, lr_scale: 1.0}",
            "training.calibration_batches=1",
        ],
    )
    train_experiment(experiment)


def main(folder: Path) -> int:
    if "LOCAL_RANK" in os.environ:  # torchrun has started us
        train(folder)
        return 0
    processes = torch.cuda.device_count() or 2
    print(f"{processes} processes; everything will be in {folder / 'experiments' / 'several-gpus'}", flush=True)
    return subprocess.run(command(folder, processes), check=False).returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())))
