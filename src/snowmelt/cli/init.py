"""``snowmelt init``: parse, call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from snowmelt.cli.options import Set


def init(
    spec: Annotated[str, typer.Argument(metavar="DIR", help="A data folder of a known layout, or any SPEC.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE.yaml", help="By default NAME.yaml, after the data.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    set_: Set = None,
) -> None:
    """Look at your data and write a commented settings file for it. Exit 1 where training would refuse the data."""
    from snowmelt.jobs import init_experiment

    init_experiment(spec, output=output, force=force, overrides=set_ or [])
