"""How fast is training? Images per second of Snowmelt, of the bare arithmetic and of two ordinary loops, in one run.

    python benchmarks/training_speed.py                               B3 -> B0, teacher live, 256 px, batch 4
    python benchmarks/training_speed.py --teacher cached --schedule   over the whole thawing schedule
    python benchmarks/training_speed.py --pair b4-mobilenetv2 --batch 16 --json speed.json

Every contender trains the same student with the same kinds of changes to the images, in a process of its own, and
they take turns: while one computes, the others stand still. The first place rotates round by round, a first round
warms up, and quotients are formed within a round.

    floor           student forward and backward, teacher forward and optimizer step on tensors that lie there, in the
                    fastest arrangement known; nothing else. With a cached teacher: without its forward pass
    floor-compiled  the same through torch.compile
    usual           as such trainers are mostly written: float32, NCHW, 2 loading processes (8 beside a GPU), pictures
                    decoded and regions rasterised for every item, changes item by item in float, every loss read with
                    .item() at each step; PyTorch's own settings of the processor
    well-written    Lightning's Trainer with bf16, channels_last, the same changes on bytes, fused optimizer, logs
                    every 50 steps
    snowmelt        `snowmelt train` with everything on, from files on disk, with the teacher as --teacher says
    plain           the same without a teacher
    live, cached    the same with the teacher in that way, whatever --teacher says

The usual and the well-written loop cannot cache a teacher; they ask it live unless --teacher is none.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from common import alternate, describe, machine, medians, ratios, table, write_json
from contest import COLD_STEPS, Contender
from loops.task import ALL, PAIRS, Task, encoders_of
from made_data import make_coco

from snowmelt.config_manager import REFERENCE, ConfigManager

Values = Mapping[str, list[float]]


class Entry(NamedTuple):
    """Which loop a contender is, and how it is taught under each --teacher."""

    module: str
    teaching: Callable[[str], str]
    compile: bool = False


def as_asked(teacher: str) -> str:
    return teacher


def live_if_at_all(teacher: str) -> str:
    return "none" if teacher == "none" else "live"


def live_or_nothing(teacher: str) -> str:
    """Answers that are stored cost the floor nothing."""
    return "live" if teacher == "live" else "none"


CONTENDERS = {
    "floor": Entry("floor", live_or_nothing),
    "floor-compiled": Entry("floor", live_or_nothing, compile=True),
    "usual": Entry("usual", live_if_at_all),
    "well-written": Entry("well_written", live_if_at_all),
    "snowmelt": Entry("snowmelt_job", as_asked),
    "plain": Entry("snowmelt_job", lambda _: "none"),
    "live": Entry("snowmelt_job", lambda _: "live"),
    "cached": Entry("snowmelt_job", lambda _: "cached"),
}
DEFAULT = ("floor", "usual", "well-written", "snowmelt")
YARDSTICKS = ("floor", "usual", "well-written", "plain")
"""Contenders to which the others are compared where they take part."""


def main() -> None:
    arguments = parse()
    teacher, student = encoders_of(arguments.pair)
    found = machine()
    device = arguments.device or ("cuda" if found["accelerators"] else "cpu")
    workers = arguments.workers if arguments.workers is not None else 8 if device == "cuda" else 2
    names = arguments.contenders or [*DEFAULT, *(["plain"] if arguments.teacher == "cached" else [])]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        data = arguments.data or make_coco(Path(folder, "data"), arguments.images, classes=arguments.classes)
        turns: dict[str, Contender] = {}
        for name in names:
            entry = CONTENDERS[name]
            task = Task(
                teacher=teacher,
                student=student,
                teaching=entry.teaching(arguments.teacher),
                classes=arguments.classes,
                size=arguments.size,
                batch=arguments.batch,
                data=data,
                folder=str(Path(folder, name)),
                device=device,
                thawed=arguments.thawed,
                workers=workers,
                compile=entry.compile,
            )
            log = Path(folder, f"{name}.log")
            turns[name] = stack.enter_context(Contender(name, entry.module, task, log))
        cold = max(COLD_STEPS, 2 * workers + 1)
        if arguments.schedule:
            measured = over_schedule(turns, arguments, cold)
        else:
            measured = {"rounds": take_turns(turns, arguments, cold, arguments.thawed)}
    result = {"machine": found, "settings": settings_of(arguments, device, workers), **measured}
    result |= {"images_per_second": medians(measured["rounds"]), "ratios": all_ratios(measured["rounds"])}
    print(f"\n{describe(found)}\n\n{title(arguments, device)}\n\n{show(measured['rounds'])}")
    if arguments.schedule:
        print(f"\nImages per second by stage of the schedule of {REFERENCE}\n\n{show_stages(measured)}")
    if arguments.json:
        write_json(arguments.json, result)


def take_turns(turns: Mapping[str, Contender], arguments: argparse.Namespace, cold: int, thawed: int) -> Values:
    """Images per second by contender and round, with so many blocks thawed."""

    def turn_of(contender: Contender) -> Callable[[], float]:
        return lambda: contender.turn(arguments.steps, cold, thawed)

    return alternate({name: turn_of(contender) for name, contender in turns.items()}, arguments.rounds)


def over_schedule(turns: Mapping[str, Contender], arguments: argparse.Namespace, cold: int) -> dict[str, Any]:
    """Every stage of the reference schedule in turn, and the speed over all of its epochs.

    The time of an image over the run is the mean of its times in the stages, weighted by their epochs.
    """
    blocks = next(contender.about["blocks"] for contender in turns.values() if "blocks" in contender.about)
    epochs = epochs_by_stage(blocks)
    stages = []
    for thawed, length in epochs.items():
        values = take_turns(turns, arguments, cold, thawed)
        stages.append({"thawed": thawed, "epochs": length, "rounds": values})
        print(f"{thawed} of {blocks} blocks thawed ({length} epochs):", by_name(medians(values)), flush=True)
    total = sum(epochs.values())
    rounds = {
        name: [
            total / sum(stage["epochs"] / stage["rounds"][name][round_] for stage in stages)
            for round_ in range(arguments.rounds)
        ]
        for name in turns
    }
    return {"stages": stages, "blocks": blocks, "rounds": rounds}


def epochs_by_stage(blocks: int) -> dict[int, int]:
    """Thawed blocks -> epochs of the reference experiment in which so many learn."""
    config = ConfigManager.get_config(REFERENCE)
    schedule, counts = config.thaw.schedule(), dict[int, int]()
    for epoch in range(config.training.epochs):
        thawed = schedule.blocks_at(epoch, blocks)
        counts[thawed] = counts.get(thawed, 0) + 1
    return counts


def all_ratios(values: Values) -> dict[str, Any]:
    return {mark: ratios(values, mark) for mark in YARDSTICKS if mark in values}


def show(values: Values) -> str:
    """A line for each contender: how fast, and how many times as fast as the others."""
    middle, compared = medians(values), all_ratios(values)
    headers = ["", "images/s", "lowest", "highest", *(f"times {mark} (range)" for mark in compared)]
    rows = [
        [
            name,
            middle[name],
            min(rounds),
            max(rounds),
            *(None if name == mark else str(found[name]) for mark, found in compared.items()),
        ]
        for name, rounds in values.items()
    ]
    return table(headers, rows)


def show_stages(measured: Mapping[str, Any]) -> str:
    names = list(measured["rounds"])
    rows = [
        [f"{stage['thawed']} of {measured['blocks']}", stage["epochs"], *medians(stage["rounds"]).values()]
        for stage in measured["stages"]
    ]
    return table(["blocks thawed", "epochs", *names], rows)


def by_name(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items()) + " images/s"


def title(arguments: argparse.Namespace, device: str) -> str:
    thawed = "whole encoder thawed" if arguments.thawed == ALL else f"{arguments.thawed} blocks thawed"
    return (
        f"{arguments.pair}, {arguments.size} px, batch {arguments.batch}, {arguments.classes} classes, {device}, "
        f"teacher {arguments.teacher}, {'over the whole schedule' if arguments.schedule else thawed}; medians of "
        f"{arguments.rounds} rounds of {arguments.steps} steps"
    )


def settings_of(arguments: argparse.Namespace, device: str, workers: int) -> dict[str, Any]:
    given = {key: value for key, value in vars(arguments).items() if key not in ("json", "contenders")}
    return {**given, "device": device, "workers": workers}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="b3-b0", help=f"{', '.join(PAIRS)}, or TEACHER:STUDENT (encoders)")
    parser.add_argument("--size", type=int, default=256, help="side of the images, in pixels (256)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (4)")
    parser.add_argument("--classes", type=int, default=2, help="background included (2)")
    parser.add_argument("--teacher", choices=("live", "cached", "none"), default="live", help="(live)")
    parser.add_argument("--thawed", type=count_or_all, default=ALL, help="encoder blocks that learn: a number, or all")
    parser.add_argument("--schedule", action="store_true", help="every stage of the reference schedule instead")
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, metavar="NAME", help="only these (see above)")
    parser.add_argument("--data", metavar="SPEC", help="coco:IMAGES:JSON or a folder; made on the spot without it")
    parser.add_argument("--images", type=int, default=320, help="how many are made, of 640 x 480 pixels (320)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one")
    parser.add_argument("--workers", type=int, help="loading processes of the ordinary loops (2, beside a GPU 8)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    parser.add_argument("--steps", type=int, default=12, help="timed steps in a turn (12)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    return parser.parse_args()


def count_or_all(text: str) -> int:
    return ALL if text == "all" else int(text)


if __name__ == "__main__":
    main()
