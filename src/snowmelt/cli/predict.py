"""``snowmelt predict``: parse, call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snowmelt.cli.options import Device


class Weights(StrEnum):
    best = "best"
    last = "last"


def predict(
    source: Annotated[str, typer.Argument(metavar="RUN|ONNX", help="A run, its weights file, or an exported file.")],
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(metavar="INPUT", help="Pictures, folders, videos; without any, the run's validation images."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="By default predicted/NAME.")
    ] = None,
    save: Annotated[str, typer.Option(metavar="KIND,KIND", help="Of mask, overlay, probabilities.")] = "mask,overlay",
    tile: Annotated[
        str,
        typer.Option(
            metavar="SIZE|auto|off",
            help="auto: the whole picture at the training size. SIZE: tiles of the picture's own size. "
            "off: the picture's own size at once.",
        ),
    ] = "auto",
    overlap: Annotated[
        float | None, typer.Option(min=0, max=0.75, help="Share of a tile that neighbours have too; 0.25 by default.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip", help="Predict the mirrored picture too, and average.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures or tiles per forward pass.")] = 8,
    weights: Annotated[Weights | None, typer.Option(help="Which of a run's weights; best by default.")] = None,
    device: Annotated[Device, typer.Option(help="Where to compute.")] = Device.auto,
    frames: Annotated[bool, typer.Option("--frames", help="Masks of a video's single frames, too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are there.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Only what has not all of its results yet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON; all else to stderr.")] = False,
) -> None:
    """Masks and overlays of your own pictures and videos."""
    from snowmelt.jobs import PredictRequest, predict_pictures, read_save, read_tile

    mode, share = read_tile(tile, overlap)
    outcome = predict_pictures(
        PredictRequest(
            source=source,
            inputs=tuple(inputs or ()),
            output=output,
            save=read_save(save),
            tile=mode,
            overlap=share,
            flip=flip,
            batch_size=batch_size,
            weights=None if weights is None else weights.value,
            device=device.value,
            frames=frames,
            overwrite=overwrite,
            resume=resume,
        ),
        as_json=as_json,
    )
    if outcome["failed"]:
        raise typer.Exit(1)
