"""The whole of ``snowmelt benchmark``, to be read top to bottom."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from snowmelt.errors import SnowmeltError
from snowmelt.export import Latency, check_size, stride_of, time_in_turns
from snowmelt.export.parity import invent_images
from snowmelt.jobs.benchmarking.contenders import Contender, exports, noted_scores, students, teacher
from snowmelt.jobs.exporting.quantising import open_data_of
from snowmelt.jobs.opening import TrainedRun, open_run
from snowmelt.jobs.page import refresh_report
from snowmelt.jobs.session import Session
from snowmelt.reporting import benchmark_sentence, benchmark_table, replace_file

FILE, FORMAT = "benchmark.json", 1


@dataclass(frozen=True)
class BenchmarkRequest:
    """Attributes:
    size: (H, W) in pixels; ``None``: the square that the run was trained at.
    batch: pictures asked about at once.
    threads: of the processor; ``None``: as many as torch takes.
    rounds: calls of each contender.
    """

    source: str
    size: tuple[int, int] | None = None
    batch: int = 1
    threads: int | None = None
    rounds: int = 30


def benchmark_run(request: BenchmarkRequest, as_json: bool = False) -> dict[str, Any]:
    """Time teacher and student in every form on the CPU, write ``benchmark.json`` into the run, and print a table.

    Args:
        as_json: print the file's content and nothing else; what is said goes to standard error.

    Raises:
        SnowmeltError: no such run, or a size that the networks cannot take.
    """
    with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext(), _threads(request.threads):
        content = _benchmark(request)
    if as_json:
        print(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))
        return content
    console = Console()
    console.print(benchmark_table(content))
    console.print(content["sentence"], highlight=False, markup=False)
    return content


def _benchmark(request: BenchmarkRequest) -> dict[str, Any]:
    trained = open_run(request.source)
    size = request.size or (trained.image_size, trained.image_size)
    check_size(size, stride_of(trained.network))
    images = invent_images((request.batch, *size), seed=0).to(torch.uint8)
    noted, session, notes = noted_scores(trained), _open_data(trained), []

    def say(text: str) -> None:
        notes.append(text)
        print(text, flush=True)

    contenders = [] if session is None else teacher(trained, session, images, noted, say)
    plain = students(trained, images, noted)
    with tempfile.TemporaryDirectory(prefix="snowmelt-benchmark-") as folder:
        files = exports(trained, session, images, Path(folder), plain[0], say)
        if plain[0].miou is None and files and files[0].miou is not None:
            plain[0] = replace(plain[0], miou=files[0].miou)  # the same weights in the same arithmetic
        contenders += [*plain, *files]
        print(f"timing {len(contenders)} contenders in turns, {request.rounds} rounds", flush=True)
        timed = time_in_turns([each.ask for each in contenders], request.rounds)
    content = {
        "format": FORMAT,
        "name": trained.name,
        "device": "cpu",
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "image_size": size[0] if size[0] == size[1] else list(size),
        "batch": request.batch,
        "rounds": request.rounds,
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "rows": [_row(each, latency, request.batch) for each, latency in zip(contenders, timed, strict=True)],
        "notes": notes,
    }
    content["sentence"] = benchmark_sentence(content)
    if trained.root is not None:
        path = trained.root / FILE
        replace_file(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
        refresh_report(trained.root)
        print(f"wrote {path}", flush=True)
    return content


def _open_data(trained: TrainedRun) -> Session | None:
    """The run's data, or nothing with a line: then no teacher and no new int8 file."""
    try:
        return open_data_of(trained)
    except SnowmeltError as error:
        print(f"neither teacher nor a new int8 file is timed: {error}", flush=True)
        return None


def _row(contender: Contender, latency: Latency, batch: int) -> dict[str, Any]:
    return {
        "name": contender.name,
        "runtime": contender.runtime,
        "precision": contender.precision,
        "latency_ms": 1000 * latency.median,
        "p90_ms": 1000 * latency.p90,
        "images_per_second": batch / latency.median,
        "parameters": contender.parameters,
        "macs": contender.macs,
        "file_bytes": contender.file_bytes,
        "miou": contender.miou,
    }


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """torch with so many threads, and onnxruntime, which takes as many; as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
