"""What does freezing save? Time and memory of a training step with 0 to all encoder blocks thawed.

    python benchmarks/stages.py                                      B3 -> B0 and B4 -> MobileNetV2, 256 px, batch 4
    python benchmarks/stages.py --pair b3-b0 --size 640 --batch 16 --json stages.json

The step is Snowmelt's own, from the batch on the device to the updated weights, on one batch that lies there:

    student step    with the teacher's answers given: forward, all losses, backward, clipping, update
    whole step      with the teacher asked
    activations     what the student's forward pass and the losses keep for the backward pass, each tensor counted once,
                    weights aside; on a GPU the same
    peak            how much the memory of a process that does nothing else rises over its state before the first
                    step (whole step; the device's own where it counts it)

The stages take turns within a round; shares are of everything thawed, formed within a round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from common import Ratio, alternate, describe, machine, medians, ratios, table, write_json
from loops.task import PAIRS, Task, encoders_of
from made_data import make_coco

PICTURES = 12  # on disk; a run wants some, though none is read


def main() -> None:
    arguments = parse()
    if arguments.peak_of is not None:
        print(json.dumps(peak_of(arguments)))
        return
    result: dict[str, Any] = {"machine": machine(), "settings": settings_of(arguments), "pairs": {}}
    print(describe(result["machine"]))
    for pair in arguments.pair:
        measured = measure(pair, arguments)
        result["pairs"][pair] = measured
        print(f"\n{pair}, {arguments.size} px, batch {arguments.batch}, {measured['precision']}; ", end="")
        print(f"medians of {arguments.rounds} rounds of {arguments.steps} steps\n\n{show(measured)}", flush=True)
    if arguments.json:
        write_json(arguments.json, result)


def measure(pair: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Everything about one pair, by the number of thawed blocks."""
    from loops.resident_step import ResidentStep

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        step = ResidentStep(task_of(pair, arguments, Path(folder)))
        chosen = arguments.thawed or range(step.blocks + 1)
        stages = sorted({min(thawed, step.blocks) for thawed in (*chosen, step.blocks)})

        def turn(thawed: int, asked: bool) -> Callable[[], float]:
            return lambda: step.seconds(thawed, asked, arguments.steps)

        student = alternate({str(thawed): turn(thawed, False) for thawed in stages}, arguments.rounds)
        whole = alternate({str(thawed): turn(thawed, True) for thawed in stages}, arguments.rounds)
        activations = {str(thawed): step.kept_bytes(thawed) for thawed in stages}
        precision, blocks = step.precision, step.blocks
    peaks = {str(thawed): measure_peak(pair, thawed, arguments) for thawed in stages}
    everything = str(blocks)
    return {
        "precision": precision,
        "blocks": blocks,
        "student_seconds": student,
        "whole_seconds": whole,
        "activation_bytes": activations,
        "peak_bytes": peaks,
        "student_share": ratios(student, everything),
        "whole_share": ratios(whole, everything),
        "activation_share": {thawed: kept / activations[everything] for thawed, kept in activations.items()},
        # A process that had a higher peak before shows no rise; those that are started for it had none.
        "peak_share": {thawed: peak / max(1, peaks[everything]) for thawed, peak in peaks.items()},
    }


def measure_peak(pair: str, thawed: int, arguments: argparse.Namespace) -> int:
    """Bytes by which memory rises, in a process of its own: what was once used is not given back."""
    command = [sys.executable, __file__, "--pair", pair, "--peak-of", str(thawed)]
    for name in ("size", "batch", "classes", "device"):
        value = getattr(arguments, name)
        command += [f"--{name}", str(value)] if value is not None else []
    answer = subprocess.run(command, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SystemExit(f"{answer.stderr}\n{' '.join(command)} failed")
    return int(json.loads(answer.stdout.splitlines()[-1]))


def peak_of(arguments: argparse.Namespace) -> int:
    """The child's part of :func:`measure_peak`."""
    from loops.resident_step import ResidentStep

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        return ResidentStep(task_of(arguments.pair[0], arguments, Path(folder))).peak_bytes(arguments.peak_of)


def task_of(pair: str, arguments: argparse.Namespace, folder: Path) -> Task:
    teacher, student = encoders_of(pair)
    device = arguments.device or ("cuda" if machine()["accelerators"] else "cpu")
    data = make_coco(folder / "data", PICTURES, classes=arguments.classes, width=64, height=64)
    return Task(
        teacher=teacher,
        student=student,
        teaching="live",
        classes=arguments.classes,
        size=arguments.size,
        batch=arguments.batch,
        data=data,
        folder=str(folder / "run"),
        device=device,
    )


def show(measured: dict[str, Any]) -> str:
    """A line for each stage."""
    student, whole = medians(measured["student_seconds"]), medians(measured["whole_seconds"])
    rows = [
        [
            f"{thawed} of {measured['blocks']}",
            1000 * student[thawed],
            _share(measured["student_share"][thawed]),
            1000 * whole[thawed],
            _share(measured["whole_share"][thawed]),
            measured["activation_bytes"][thawed] / 2**20,
            _percent(measured["activation_share"][thawed]),
            measured["peak_bytes"][thawed] / 2**20,
            _percent(measured["peak_share"][thawed]),
        ]
        for thawed in student
    ]
    headers = ["blocks thawed", "student step, ms", "share", "whole step, ms", "share"]
    return table([*headers, "activations, MiB", "share", "peak, MiB", "share"], rows)


def _share(found: Ratio) -> str:
    return _percent(found.median)


def _percent(value: float) -> str:
    return f"{value:.0%}"


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in vars(arguments).items() if key not in ("json", "peak_of")}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=list(PAIRS), help=f"{', '.join(PAIRS)}, or TEACHER:STUDENT (both)")
    parser.add_argument("--size", type=int, default=256, help="side of the images, in pixels (256)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (4)")
    parser.add_argument("--classes", type=int, default=2, help="background included (2)")
    parser.add_argument("--thawed", type=int, nargs="+", help="only so many blocks (and all of them)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    parser.add_argument("--steps", type=int, default=6, help="timed steps in a turn (6)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
