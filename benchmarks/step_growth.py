"""How does a training step grow? Its time and memory against image size and batch, without and with a live teacher.

    python benchmarks/step_growth.py                                  128 to 512 px, batches of 1 to 16
    python benchmarks/step_growth.py --sizes 640 --batches 4 16 64 --json step_growth.json

The step is Snowmelt's own, from the batch of bytes to the updated weights, on one batch that stays where it is: no
loading. `plain` trains the student alone, `live` asks the teacher at every step; they take turns, in processes of
their own. `exponent` is how the time grows from the row above: 1 is as fast as the number of pixels or of images.

    memory          how far a process's memory rises over what it had in use before its first step; on a GPU the
                    device's own. On a CPU it has the oneDNN primitives of all smaller batches in it
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import alternate, describe, machine, medians, ratio, table, write_json
from crew import Crew, count_or_all, usable_cores
from loops.task import ALL, PAIRS, Task, encoders_of
from made_data import make_coco

TEACHINGS = {"plain": "none", "live": "live"}
UNTIMED = 2  # steps at the head of a turn: another shape wants other primitives
SETTLED = 3  # steps until memory has reached its height


class Cell(NamedTuple):
    size: int
    batch: int


def main() -> None:
    arguments = parse()
    found = machine()
    device = arguments.device or ("cuda" if found["accelerators"] else "cpu")
    cells: dict[Cell, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        count = math.ceil(max(arguments.batches) / 0.8)  # a part of them is kept for validation
        data = make_coco(Path(folder, "data"), count, width=64, height=64, regions=2)
        for size in sorted(arguments.sizes):
            cells |= measure(size, arguments, data, Path(folder), device)
    print(f"{describe(found)}\n\n{arguments.pair}, {thaw_of(arguments)}, {device}; ", end="")
    print(f"medians of {arguments.rounds} rounds of {arguments.steps} steps\n\n{show(cells)}")
    if arguments.json:
        given = {key: value for key, value in vars(arguments).items() if key != "json"}
        rows = [{**cell._asdict(), **values} for cell, values in cells.items()]
        write_json(arguments.json, {"machine": found, "settings": {**given, "device": device}, "cells": rows})


def measure(
    size: int, arguments: argparse.Namespace, data: str, folder: Path, device: str
) -> dict[Cell, dict[str, Any]]:
    """Seconds a step by round, and bytes, for every batch at one size."""
    teacher, student = encoders_of(arguments.pair)
    found: dict[Cell, dict[str, Any]] = {}
    crews: dict[str, Crew] = {}
    try:
        for name, teaching in TEACHINGS.items():
            task = Task(
                teacher=teacher,
                student=student,
                teaching=teaching,
                classes=2,
                size=size,
                batch=max(arguments.batches),
                data=data,
                folder=str(folder / f"{name}-{size}"),
                device=device,
                thawed=arguments.thawed,
            )
            threads = None if device == "cuda" else arguments.threads or len(usable_cores()) or None
            crews[name] = Crew(task, settings={"data": {"workers": 0}}, threads=threads, resident=True)
        for batch in sorted(arguments.batches):
            memory = {name: crew.peak(SETTLED, batch) for name, crew in crews.items()}
            turns = {name: seconds_of(crew, arguments.steps, batch) for name, crew in crews.items()}
            found[Cell(size, batch)] = {"seconds": alternate(turns, arguments.rounds), "bytes": memory}
    finally:
        for crew in crews.values():
            crew.close()
    return found


def seconds_of(crew: Crew, steps: int, batch: int) -> Callable[[], float]:
    """A turn that gives the seconds of one step."""
    return lambda: batch / crew.turn(steps, UNTIMED, batch)


def show(cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Growth with the batch at every size, then growth with the size at every batch."""
    sizes, batches = (sorted(set(values)) for values in zip(*cells, strict=True))
    parts = [rows_of(cells, [Cell(size, batch) for batch in batches], "batch") for size in sizes]
    if len(sizes) > 1:
        parts += [rows_of(cells, [Cell(size, batch) for size in sizes], "size") for batch in batches]
    return "\n\n".join(parts)


def rows_of(cells: Mapping[Cell, Mapping[str, Any]], chosen: Sequence[Cell], what: str) -> str:
    """A table of cells that differ in ``what`` alone."""
    rows: list[list[Any]] = []
    before: tuple[Cell, float] | None = None
    for cell in chosen:
        seconds = medians(cells[cell]["seconds"])
        live = ratio(cells[cell]["seconds"]["live"], cells[cell]["seconds"]["plain"])
        exponent = None if before is None else growth(before[0], cell, before[1], seconds["plain"])
        rows.append(
            [
                getattr(cell, what),
                *(1000 * seconds[name] for name in TEACHINGS),
                1000 * seconds["plain"] / cell.batch,
                exponent,
                str(live),
                *(f"{cells[cell]['bytes'][name] / 2**20:,.0f}" for name in TEACHINGS),
            ]
        )
        before = (cell, seconds["plain"])
    fixed = f"{chosen[0].size} px, batch" if what == "batch" else f"batch {chosen[0].batch}, px"
    heads = [fixed, "plain, ms", "live, ms", "plain, ms an image", "exponent", "live / plain (range)"]
    return table([*heads, "plain, MiB", "live, MiB"], rows)


def growth(before: Cell, after: Cell, earlier: float, later: float) -> float:
    """d log(time) / d log(pixels of the batch)."""
    pixels = [cell.batch * cell.size**2 for cell in (before, after)]
    return math.log(later / earlier) / math.log(pixels[1] / pixels[0])


def thaw_of(arguments: argparse.Namespace) -> str:
    return "everything thawed" if arguments.thawed == ALL else f"{arguments.thawed} blocks thawed"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="b3-b0", help=f"{', '.join(PAIRS)}, or TEACHER:STUDENT (encoders)")
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256, 384, 512], help="(128 256 384 512)")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8, 16], help="(1 2 4 8 16)")
    parser.add_argument("--thawed", type=count_or_all, default=ALL, help="encoder blocks that learn: a number, or all")
    parser.add_argument("--threads", type=int, help="of the arithmetic on a CPU (one for each core)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (5)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps in a turn (4)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
