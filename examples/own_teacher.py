"""Your own teacher: any ``nn.Module``, whatever it is made of.

    python examples/own_teacher.py [FOLDER]

The module is asked once about every image, here by your own code, and its logits are kept as ``NAME.npy``. The student
then learns from ``teacher.source=maps:DIR``. A module that torch.onnx can export may be given as FILE.onnx instead, and
weights of a segmentation-models-pytorch network as FILE.pth: docs/teachers.md has all kinds.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import nn

from snowmelt.build import open_data
from snowmelt.config import ExperimentConfig
from snowmelt.data import Source
from snowmelt.jobs import prepare, train_experiment


class MyTeacher(nn.Module):
    """Stands for yours: (B, 3, H, W) in [0, 1] -> (B, 2, H, W) logits of background and person."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=4, dilation=4), nn.ReLU(),
            nn.Conv2d(16, 2, 1),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def teach(teacher: nn.Module, images: Source) -> nn.Module:
    """Yours is trained already."""
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=3e-3)
    for step in range(40):
        sample = images.load(step % len(images))
        logits = teacher(as_input(sample.image))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(sample.mask).long()[None])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return teacher.eval()


def as_input(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H, W): your own preprocessing goes here."""
    return torch.from_numpy(image).permute(2, 0, 1)[None] / 255


@torch.no_grad()
def write_maps(teacher: nn.Module, images: Source, folder: Path) -> None:
    """(K, H, W) float32 logits of each image under its name. A coarser grid than the image's is fine, too."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(len(images)):
        logits = teacher(as_input(images.load(index).image))[0]
        np.save(folder / f"{Path(images.name(index)).stem}.npy", logits.numpy().astype(np.float32))


def settings(folder: Path) -> ExperimentConfig:
    return prepare(
        "auto",
        data="scenes:16",  # or your folder
        image_size=64,
        epochs=3,
        run_name="own-teacher",
        overrides=[
            f"output={folder / 'experiments'}",
            f"teacher.source=maps:{folder / 'maps'}",
            # Small and quick, as in own_data.py.
            "student={encoder: tu-mobilenetv3_small_050, weights: none, decoder_channels: [32, 16, 16, 8, 8]}",
            "thaw={start: 1, every: 1, lr_scale: 1.0}",
            "training.calibration_batches=1",
        ],
    )


def main(folder: Path) -> dict[str, object]:
    """The outcome of the student's run."""
    torch.manual_seed(0)
    experiment = settings(folder)
    splits = open_data(experiment)
    teacher = teach(MyTeacher(), splits.train)
    for images in (splits.train, splits.val):  # all that the student will meet with a teacher
        write_maps(teacher, images, folder / "maps")
    outcome = train_experiment(experiment)
    print(f"everything is in {folder / 'experiments' / 'own-teacher'}")
    return outcome


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
