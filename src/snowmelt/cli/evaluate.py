"""``snowmelt evaluate``: parse, call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snowmelt.cli.options import Device


class Part(StrEnum):
    train = "train"
    val = "val"
    test = "test"


class Which(StrEnum):
    best = "best"
    last = "last"


def evaluate(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run folder, its name under experiments/, or a .safetensors file.")
    ],
    data: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Other images: scenes[:N], a folder, or coco:IMAGES:JSON.")
    ] = None,
    split: Annotated[Part | None, typer.Option(help="Part of the data; by default test where there is one.")] = None,
    weights: Annotated[Which, typer.Option(help="Which weights of the run.")] = Which.best,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst images to list and draw.")] = 8,
    tolerance: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Of boundaries, as a share of an image's diagonal.")
    ] = 0.0075,
    device: Annotated[Device | None, typer.Option(help="Where to compute.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="By default evaluation/ in the run folder."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="data.image_folder or data.mask_folder of --data."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON; all else goes to stderr.")] = False,
) -> None:
    """Score a trained student, and its teacher beside it: tables, JSON, plots and the worst images."""
    from snowmelt.jobs import EvaluateRequest, evaluate_run

    request = EvaluateRequest(
        run,
        data=data,
        split=None if split is None else split.value,
        worst=worst,
        weights=weights.value,
        device=None if device is None else device.value,
        output=output,
        tolerance=tolerance,
        overrides=tuple(set_ or ()),
    )
    evaluate_run(request, as_json=as_json)
