"""``snowmelt benchmark``: parse, call."""

from __future__ import annotations

from typing import Annotated

import typer

from snowmelt.cli.options import Run


def benchmark(
    run: Run,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Size of the pictures in pixels; by default the run's.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Pictures asked about at once.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the processor; by default as many as torch takes.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often each is asked.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print benchmark.json; all else goes to stderr.")] = False,
) -> None:
    """What did it buy? Teacher and student timed on this machine: PyTorch, ONNX, int8; with size and mIoU."""
    from snowmelt.jobs import BenchmarkRequest, benchmark_run, read_size

    request = BenchmarkRequest(
        source=run, size=None if size is None else read_size(size), batch=batch, threads=threads, rounds=rounds
    )
    benchmark_run(request, as_json=as_json)
