"""``snowmelt export``: parse, call."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from snowmelt.cli.options import Run


class Format(StrEnum):
    onnx = "onnx"
    safetensors = "safetensors"


class Quantize(StrEnum):
    int8 = "int8"


def export(
    run: Run,
    format: Annotated[Format, typer.Option(help="What to write.")] = Format.onnx,
    quantize: Annotated[
        Quantize | None, typer.Option(help="8-bit integers, calibrated and scored on the run's own images.")
    ] = None,
    size: Annotated[
        str, typer.Option(metavar="HxW|dynamic", help="Size of the pictures that the ONNX file takes, in pixels.")
    ] = "dynamic",
    bake_normalisation: Annotated[
        bool, typer.Option("--bake-normalisation", help="The ONNX file takes pixels, 0 to 255, and normalises itself.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to write (a folder with --card); else in RUN/export."
        ),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="A folder for publishing: smp's own layout, with a model card.")
    ] = False,
    license: Annotated[
        str | None, typer.Option(metavar="SPDX", help="Licence that the card names, such as apache-2.0.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write an int8 file that lost too much mIoU.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Take the student away: one checked ONNX file, or weights that plain smp code loads."""
    from snowmelt.jobs import ExportRequest, export_run, read_size

    request = ExportRequest(
        source=run,
        format=format.value,
        int8=quantize is not None,
        size=read_size(size),
        bake_normalisation=bake_normalisation,
        output=output,
        card=card,
        force=force,
        licence=license,
    )
    export_run(request, as_json=as_json)
