"""``snowmelt check-data``: parse, call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snowmelt.cli.options import ImageSize, Set, Val


def check_data(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="scenes[:N], a folder, or coco:IMAGES:JSON[:category,...].")
    ],
    val: Val = None,
    image_size: ImageSize = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write check.json and pictures there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: every file of every finding.")] = False,
    set_: Set = None,
) -> None:
    """Look at every image and mask: counts, classes, duplicates, oddities. Exit 1 where training would refuse."""
    from snowmelt.jobs import prepare

    experiment = prepare("auto", data=spec, val=val, image_size=image_size, overrides=set_ or [])
    from snowmelt.jobs import check_data as look

    if not look(experiment, as_json=as_json, output=output):
        raise typer.Exit(1)
