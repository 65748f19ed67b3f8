"""``snowmelt report``: parse, call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run folder, or its name under experiments/.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Another file than RUN/report.html.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
) -> None:
    """Write a run's page, report.html: plan, curves, classes, pictures. Works while it trains, too."""
    from snowmelt.jobs import report_run

    report_run(run, output=output, opens=open_)
