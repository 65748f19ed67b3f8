"""The whole of ``snowmelt evaluate``, to be read top to bottom."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from snowmelt.build import ProgressLines
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.evaluating.content import FORMAT, scores_content, worst_images
from snowmelt.jobs.evaluating.material import Material, folder_of, gather
from snowmelt.jobs.evaluating.measuring import measure
from snowmelt.jobs.evaluating.request import EvaluateRequest
from snowmelt.jobs.evaluating.worst import draw_worst
from snowmelt.jobs.opening import TrainedRun, open_run
from snowmelt.jobs.page import refresh_report
from snowmelt.reporting import draw_evaluation, evaluation_tables, replace_file


def evaluate_run(request: EvaluateRequest, as_json: bool = False) -> dict[str, Any]:
    """Score a student, and its teacher where it can be asked, in one pass; write JSON and pictures.

    Args:
        as_json: print the content of the JSON file and nothing else; what is said goes to standard error.

    Returns:
        The content of the JSON file (docs/evaluate.md).

    Raises:
        SnowmeltError: no such run, data that cannot be used, or a folder that cannot be written.
    """
    if not as_json:
        content, material, path = _evaluate(request)
        if material.engine.rank == 0:
            print_evaluation(content, path)
        return content
    with contextlib.redirect_stdout(sys.stderr):
        content, material, _ = _evaluate(request)
    if material.engine.rank == 0:
        print(json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False))
    return content


def _evaluate(request: EvaluateRequest) -> tuple[dict[str, Any], Material, Path]:
    run = open_run(request.source, request.weights)
    material = gather(run, request)
    source, leads = material.source, material.engine.rank == 0

    def say(text: str) -> None:
        if leads:
            print(text, flush=True)

    say(f"{run.name}: {run.weights} on {material.describe()} in squares of {run.image_size} pixels")
    measured = measure(
        material.engine,
        material.batches,
        len(source),
        len(source.classes),
        student=material.student,
        teacher=material.teacher,
        tolerance=request.tolerance,
        progress=ProgressLines("evaluated", say),
    )
    worst = worst_images(measured, [source.name(index) for index in range(len(source))], request.worst)
    path = place_of(run, material, request)
    content = {
        "format": FORMAT,
        "run": run.name,
        "weights": str(run.weights if run.root is None else Path("checkpoints") / run.weights.name),
        "split": material.part,
        "data": material.others,
        "images": len(source),
        "image_size": run.image_size,
        "boundary_tolerance": request.tolerance,
        "classes": list(source.classes),
        "notes": list(material.notes),
        **scores_content(measured, source.classes),
        "worst": [{key: value for key, value in row.items() if key != "index"} for row in worst],
    }
    if leads:
        _write(path, content, material, worst)
        if run.root is not None and request.output is None:
            refresh_report(run.root)
        say(f"evaluated: {len(source)} images, {len(source) / measured.seconds:.1f} images/s")
    material.engine.barrier()
    return content, material, path


def place_of(run: TrainedRun, material: Material, request: EvaluateRequest) -> Path:
    """The JSON file. Pictures lie in the folder of its name beside it."""
    return (
        request.output or folder_of(run)
    ) / f"{material.stem(request.weights if run.weights.stem != 'last' else 'last')}.json"


def _write(path: Path, content: dict[str, Any], material: Material, worst: list[dict[str, Any]]) -> None:
    """Pictures first: a JSON file that is there has all that it names."""
    pictures = path.with_suffix("")
    try:
        pictures.mkdir(parents=True, exist_ok=True)
        draw_evaluation(pictures, content)
        for row, drawn in zip(content["worst"], draw_worst(material, worst, pictures), strict=True):
            row.update(drawn)
        replace_file(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    except OSError as error:
        raise SnowmeltError(
            f"{path.parent}: cannot be written ({error}); give another folder with --output", code="file-unwritable"
        ) from error


def print_evaluation(content: dict[str, Any], path: Path) -> None:
    """Tables, notes, and where everything lies."""
    console = Console()
    for table in evaluation_tables(content):
        console.print()
        console.print(table)
    agreement = content["agreement"]
    if agreement is not None and agreement["pixels"] is not None:
        share = 100 * agreement["pixels"]
        console.print(f"Student and teacher agree on {share:.1f} % of the pixels.", highlight=False)
    for note in content["notes"]:
        console.print(f"Note: {note}.", highlight=False, markup=False)
    where = f"{path} has all of it, and {path.with_suffix('')}/ the pictures."
    console.print(where, highlight=False, markup=False, soft_wrap=True)  # a path that is cut cannot be copied
