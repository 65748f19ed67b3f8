"""Your own data: a folder of pictures and masks, looked at, trained on and scored.

    python examples/own_data.py [FOLDER]

The same in a shell:  snowmelt check-data DIR;  snowmelt train auto --data DIR;  snowmelt train auto --test-only
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from snowmelt.jobs import check_data, prepare, score_run, train_experiment

SIDE = 64


def write_data(folder: Path, count: int = 16) -> Path:
    """Pictures in ``images/``, masks of class ids in ``masks/``, matched by stem: bright discs on dark noise."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        row, column, radius = rng.integers(16, 48), rng.integers(16, 48), rng.integers(6, 16)
        mask = ((rows - row) ** 2 + (columns - column) ** 2 < radius**2).astype(np.uint8)
        image = np.clip(rng.normal(70, 25, (SIDE, SIDE, 3)) + 90 * mask[..., None], 0, 255).astype(np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index:03d}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index:03d}.png")
    (folder / "classes.txt").write_text("background\ndisc\n")
    return folder


def main(folder: Path) -> float:
    """The student's mIoU."""
    experiment = prepare(
        "auto",  # chooses the schedule by the number of images
        data=str(write_data(folder / "data")),
        image_size=SIDE,
        epochs=3,
        batch_size=4,
        run_name="own-data",
        overrides=[
            f"output={folder / 'experiments'}",
            # Small networks and an early thaw, so that this ends in seconds. Leave the rest out for your own data.
            "student={encoder: tu-mobilenetv3_small_050, weights: none, decoder_channels: [32, 16, 16, 8, 8]}",
            "teacher.network={encoder: tu-mobilenetv3_small_050, weights: none, decoder_channels: [32, 16, 16, 8, 8]}",
            "thaw={start: 1, every: 1, lr_scale: 1.0}",
            "training.calibration_batches=1",
        ],
    )
    if not check_data(experiment):
        raise SystemExit("mend the data first")
    train_experiment(experiment)
    score = score_run(experiment)
    print(f"everything is in {folder / 'experiments' / 'own-data'}")
    return score.miou


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
