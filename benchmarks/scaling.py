"""What does a second process bring? Images per second of two processes and of one, and what they send to each other.

    python benchmarks/scaling.py                                      B0 alone, 256 px, 4 images in each process
    python benchmarks/scaling.py --teacher live --thawed 0 all
    python benchmarks/scaling.py --processes 4 --accumulate 2 --json scaling.json

On a CPU every process computes on one thread and on a core of its own, and loads its images there; they exchange
gradients through gloo. Where there are GPUs, each has one, and it is NCCL. One process and several take turns, each
with the same number of images a process; quotients are formed within a round. A step is Snowmelt's own, with loading.

    efficiency      images per second to those of one process, divided by the number of processes
    gradients       bytes of the buckets that a process really gives to be summed in one step, and in how many calls
    buffers         bytes that the first process sends to the others (norm statistics)
    small           other calls: sums of a few numbers, and barriers

With --accumulate K a step has K micro-batches; the gradients must still be exchanged once.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from common import Ratio, alternate, describe, machine, medians, ratio, table, write_json
from crew import Crew, count_or_all, usable_cores
from loops.task import ALL, PAIRS, Task, encoders_of
from made_data import make_coco

LEAST_BUCKET = 1024
"""Bytes; what is summed beside the gradients are a few numbers."""
ONE = "1"


def main() -> None:
    arguments = parse()
    found = machine()
    device = arguments.device or ("cuda" if found["accelerators"] else "cpu")
    cores = cores_of(arguments.processes, device)
    settings = {"data": {"workers": 0}, "training": {"accumulate": arguments.accumulate}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = arguments.data or make_coco(Path(folder, "data"), arguments.images)
        crews: dict[str, Crew] = {}
        for name, count in ((ONE, 1), (str(arguments.processes), arguments.processes)):
            task = task_of(arguments, data, Path(folder, name), device)
            crew = Crew(
                task,
                settings=settings,
                processes=count,
                cores=None if cores is None else cores[:count],
                threads=None if cores is None else 1,
            )
            crews[name] = stack.enter_context(crew)
        stages = [measure_stage(crews, thawed, arguments) for thawed in stages_of(crews[ONE], arguments.thawed)]
        about = crews[ONE].about
    print(f"{describe(found)}\n\n{title(arguments, device, about['precision'])}\n\n{show(stages, about['blocks'])}")
    if arguments.json:
        given = {key: value for key, value in vars(arguments).items() if key != "json"}
        write_json(arguments.json, {"machine": found, "settings": {**given, "device": device}, "stages": stages})


def cores_of(processes: int, device: str) -> list[list[int]] | None:
    """A core for each process; None where GPUs compute or the system does not let one choose."""
    if device == "cuda":
        return None
    usable = usable_cores()
    if not usable:
        return None
    if len(usable) < processes:
        raise SystemExit(f"{processes} processes want a core each, but this machine gives {len(usable)}")
    return [[core] for core in usable[:processes]]


def task_of(arguments: argparse.Namespace, data: str, folder: Path, device: str) -> Task:
    teacher, student = encoders_of(arguments.pair)
    return Task(
        teacher=teacher,
        student=student,
        teaching=arguments.teacher,
        classes=2,
        size=arguments.size,
        batch=arguments.batch,
        data=data,
        folder=str(folder),
        device=device,
    )


def stages_of(crew: Crew, asked: Sequence[int]) -> list[int]:
    """Numbers of thawed blocks, in rising order."""
    blocks = crew.about["blocks"]
    return sorted({blocks if thawed == ALL else min(thawed, blocks) for thawed in asked})


def measure_stage(crews: Mapping[str, Crew], thawed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speeds by round, and what is sent around in one step."""
    trainable = 0
    for crew in crews.values():
        trainable = crew.thaw(thawed)["trainable"]

    def turn_of(crew: Crew) -> Callable[[], float]:
        return lambda: crew.turn(arguments.steps)

    rounds = alternate({name: turn_of(crew) for name, crew in crews.items()}, arguments.rounds)
    many = str(arguments.processes)
    speedup = ratio(rounds[many], rounds[ONE])
    return {
        "thawed": thawed,
        "trainable": trainable,
        "rounds": rounds,
        "images_per_second": medians(rounds),
        "speedup": speedup,
        "efficiency": Ratio(*(value / arguments.processes for value in speedup)),
        **sent(crews[many].collectives()),
    }


def sent(calls: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Calls and bytes of one step, by what they are for."""
    sums = [size for name, size in calls if name.startswith("all_reduce")]
    buckets = [size for size in sums if size >= LEAST_BUCKET]
    buffers = [size for name, size in calls if name.startswith("broadcast")]
    return {
        "gradient_calls": len(buckets),
        "gradient_bytes": sum(buckets),
        "buffer_calls": len(buffers),
        "buffer_bytes": sum(buffers),
        "small_calls": len(calls) - len(buckets) - len(buffers),
        "barriers": sum(name.startswith("barrier") for name, _ in calls),
    }


def show(stages: Sequence[Mapping[str, Any]], blocks: int) -> str:
    """Two tables: speeds, and what is sent."""
    many = next(name for name in stages[0]["rounds"] if name != ONE)
    speeds = [
        [
            f"{stage['thawed']} of {blocks}",
            *stage["images_per_second"].values(),
            str(stage["speedup"]),
            f"{stage['efficiency'].median:.2f}",
        ]
        for stage in stages
    ]
    sizes = [
        [
            f"{stage['thawed']} of {blocks}",
            f"{stage['trainable']:,}",
            f"{stage['gradient_bytes']:,} in {stage['gradient_calls']}",
            f"{stage['buffer_bytes']:,} in {stage['buffer_calls']}",
            f"{stage['small_calls']} ({stage['barriers']} barriers)",
        ]
        for stage in stages
    ]
    heads = ["blocks thawed", "images/s, 1 process", f"{many} processes", "times (range)", "efficiency"]
    what = ["blocks thawed", "parameters that learn", "gradients, bytes in calls", "buffers", "small calls"]
    return f"{table(heads, speeds)}\n\nOne step of one process\n\n{table(what, sizes)}"


def title(arguments: argparse.Namespace, device: str, precision: str) -> str:
    return (
        f"{arguments.pair}, teacher {arguments.teacher}, {arguments.size} px, {arguments.batch} images in each process"
        f"{f' and {arguments.accumulate} micro-batches' if arguments.accumulate > 1 else ''}, {device}, {precision}; "
        f"medians of {arguments.rounds} rounds of {arguments.steps} steps"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="b3-b0", help=f"{', '.join(PAIRS)}, or TEACHER:STUDENT (encoders)")
    parser.add_argument("--teacher", choices=("none", "live"), default="none", help="(none)")
    parser.add_argument("--processes", type=int, default=2, help="to compare with one (2)")
    parser.add_argument("--size", type=int, default=256, help="side of the images, in pixels (256)")
    parser.add_argument("--batch", type=int, default=4, help="images in each process and micro-batch (4)")
    parser.add_argument("--accumulate", type=int, default=1, help="micro-batches in a step (1)")
    parser.add_argument(
        "--thawed", nargs="+", type=count_or_all, default=[0, 3, ALL], help="stages: blocks that learn (0 3 all)"
    )
    parser.add_argument("--data", metavar="SPEC", help="coco:IMAGES:JSON or a folder; made on the spot without it")
    parser.add_argument("--images", type=int, default=160, help="how many are made, of 640 x 480 pixels (160)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="GPUs where there are any")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps in a turn (10)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    arguments = parser.parse_args()
    if arguments.processes < 2:
        parser.error("--processes: one is compared with at least 2")
    return arguments


if __name__ == "__main__":
    main()
