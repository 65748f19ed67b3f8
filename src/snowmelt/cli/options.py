"""Arguments and options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Device(StrEnum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class Precision(StrEnum):
    auto = "auto"
    float32 = "32"
    bf16 = "bf16"
    fp16 = "16"


Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A registered name, FILE.yaml, or FILE.py:ATTRIBUTE (runs that file).")
]
Run = Annotated[
    str, typer.Argument(metavar="RUN", help="A run folder, its name under experiments/, or a .safetensors file.")
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes over the training images.")]
Data = Annotated[
    str | None,
    typer.Option(metavar="SPEC", help="scenes[:N], a folder, or coco:IMAGES:JSON[:category,...]."),
]
Val = Annotated[str | None, typer.Option(metavar="SPEC", help="A second SPEC for validation.")]
ImageSize = Annotated[int | None, typer.Option(min=32, help="Side of the square the networks see, in pixels.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Any other setting; may be given several times.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Seed of order, augmentation and initial weights.")]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Images per forward pass and process.")]
MaxSteps = Annotated[
    int | None, typer.Option(min=1, help="End after so many optimizer steps of the run, the teacher's run too.")
]
DeviceOption = Annotated[Device | None, typer.Option(help="Where to train.")]
PrecisionOption = Annotated[Precision | None, typer.Option(help="Arithmetic of the networks.")]
Deterministic = Annotated[
    bool | None,
    typer.Option("--deterministic", help="The same bits from every run on a GPU, too, or a refusal."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Move an existing run aside (never deletes it).")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where the run was cut or stopped.")]
RunName = Annotated[str | None, typer.Option(help="Name of the run folder; by default the config's name.")]
