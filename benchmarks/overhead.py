"""What does a run cost beside its training steps? Whole epochs of ``snowmelt train``, taken apart by the clock.

    python benchmarks/overhead.py                                     B3 -> B0, 256 px, batch 4, teacher cached
    python benchmarks/overhead.py --teacher none --epochs 6 --json overhead.json

Parts of an epoch, which do not overlap:

    training steps   forward, backward, update, teacher
    waiting          for images
    validation       passes of the networks over the validation images, and their loading
    checks           whether loss, gradient, teacher and norm statistics of a step are finite, and undoing it if not
    logging          reading losses from the device, learning rates, seeds, counting
    listeners        text log, tables, TensorBoard, progress
    metrics          confusion matrix and scores
    checkpoints      weights and state, written and flushed to the disk
    rest             whatever else happens between the beginning and the end of an epoch

Overhead is the last six. On a GPU every step is waited for here, so that what would hide behind it counts as well.
With a frozen encoder and a cached teacher the steps are shortest, and so the share of all else is largest.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

from common import describe, machine, table, write_json
from loops.networks import synchroniser
from loops.snowmelt_job import experiment
from loops.task import PAIRS, Task, encoders_of
from made_data import make_coco

from snowmelt.config import with_values
from snowmelt.evaluation import ConfusionMatrix
from snowmelt.jobs import train_experiment
from snowmelt.training import (
    Announcer,
    Checkpoints,
    Scorer,
    TrainingRun,
    TrainState,
    loop,
    out_of_memory,
    scoring,
    step,
)
from snowmelt.training.buffers import Buffers

PARTS = ("training steps", "waiting", "validation", "checks", "logging", "listeners", "metrics", "checkpoints", "rest")
OVERHEAD = PARTS[3:]
FROZEN_EPOCHS = 10  # the reference schedule thaws its first block after them


class Stopwatch:
    """Seconds by part. A part within a part stops the outer one's clock."""

    def __init__(self, synchronise: Callable[[], None]) -> None:
        self.epochs: list[dict[str, float]] = []
        self._synchronise = synchronise
        self._running: list[str] = []
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._mark = 0.0

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """The block counts as ``name``, once an epoch has begun."""
        self._note()
        self._running.append(name)
        try:
            yield
        finally:
            self._note()
            self._running.pop()

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        """From now on the function counts as ``name``."""
        function = getattr(owner, attribute)

        def timed(*arguments: Any, **options: Any) -> Any:
            with self.part(name):
                result = function(*arguments, **options)
                if name == "training steps":
                    self._synchronise()
                return result

        setattr(owner, attribute, timed)

    def start_epoch(self) -> None:
        self._seconds = dict.fromkeys(PARTS, 0.0)
        self._mark = time.perf_counter()

    def end_epoch(self) -> None:
        self._note()
        self.epochs.append(self._seconds)

    def _note(self) -> None:
        now = time.perf_counter()
        self._seconds[self._running[-1] if self._running else "rest"] += now - self._mark
        self._mark = now


class TimedBatches:
    """The training batches, with the time until each is there."""

    def __init__(self, batches: Any, stopwatch: Stopwatch) -> None:
        self._batches, self._stopwatch = batches, stopwatch

    def __iter__(self) -> Iterator[Any]:
        with self._stopwatch.part("waiting"):
            batches = iter(self._batches)
        while True:
            with self._stopwatch.part("waiting"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch


def watch(stopwatch: Stopwatch) -> None:
    """Put the clock into the loop, at the borders between the parts."""
    stopwatch.wrap(out_of_memory, "train_step", "training steps")
    for owner, names in ((Buffers, ("keep", "finite", "put_back_unless")), (step, ("finite_images", "find_cause"))):
        for name in names:
            stopwatch.wrap(owner, name, "checks")
    stopwatch.wrap(Announcer, "tell", "listeners")
    stopwatch.wrap(Scorer, "score", "validation")
    stopwatch.wrap(Checkpoints, "save_last", "checkpoints")
    stopwatch.wrap(Checkpoints, "save_best", "checkpoints")
    stopwatch.wrap(scoring, "predict_classes", "metrics")
    for name in ("add", "iou", "mean_iou"):
        stopwatch.wrap(ConfusionMatrix, name, "metrics")
    stopwatch.wrap(loop, "train_epoch", "logging")
    enter, end = loop.enter_stage, loop.end_epoch

    def begin(run: TrainingRun, state: TrainState) -> None:
        if not isinstance(run.train_batches, TimedBatches):
            run.train_batches = TimedBatches(run.train_batches, stopwatch)
        stopwatch.start_epoch()
        enter(run, state)

    def finish(*arguments: Any) -> None:
        end(*arguments)
        stopwatch.end_epoch()

    loop.enter_stage, loop.end_epoch = begin, finish


def main() -> None:
    arguments = parse()
    found = machine()
    device = arguments.device or ("cuda" if found["accelerators"] else "cpu")
    stopwatch = Stopwatch(synchroniser(device))
    teacher, student = encoders_of(arguments.pair)
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        data = arguments.data or make_coco(Path(folder, "data"), arguments.images, classes=arguments.classes)
        task = Task(
            teacher=teacher,
            student=student,
            teaching=arguments.teacher,
            classes=arguments.classes,
            size=arguments.size,
            batch=arguments.batch,
            data=data,
            folder=folder,
            device=device,
            epochs=min(arguments.epochs + 1, FROZEN_EPOCHS),
        )
        watch(stopwatch)
        train_experiment(with_values(experiment(task), {"thaw": {"progressive": not arguments.thawed}}))
    counted = stopwatch.epochs[1:]  # in the first, files and memory are touched for the first time
    seconds = {part: statistics.median(epoch[part] for epoch in counted) for part in PARTS}
    shares = [sum(epoch[part] for part in OVERHEAD) / sum(epoch.values()) for epoch in counted]
    settings = {key: value for key, value in vars(arguments).items() if key != "json"}
    result = {"machine": found, "settings": settings, "epochs": counted, "seconds": seconds, "overhead_shares": shares}
    whole = sum(seconds.values())
    thawed = "whole encoder thawed" if arguments.thawed else "encoder frozen"
    print(f"{describe(found)}\n\n{arguments.pair}, {arguments.size} px, batch {arguments.batch}, {device}, ", end="")
    print(f"teacher {arguments.teacher}, {thawed}; medians of {len(counted)} epochs\n")
    print(table(["", "seconds an epoch", "share"], [[part, s, f"{s / whole:.2%}"] for part, s in seconds.items()]))
    print(f"\noverhead: {statistics.median(shares):.2%} ({min(shares):.2%} to {max(shares):.2%}) of an epoch")
    if arguments.json:
        write_json(arguments.json, result)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", default="b3-b0", help=f"{', '.join(PAIRS)}, or TEACHER:STUDENT (encoders)")
    parser.add_argument("--size", type=int, default=256, help="side of the images, in pixels (256)")
    parser.add_argument("--batch", type=int, default=4, help="images a step (4)")
    parser.add_argument("--classes", type=int, default=2, help="background included (2)")
    parser.add_argument("--teacher", choices=("live", "cached", "none"), default="cached", help="(cached)")
    parser.add_argument("--thawed", action="store_true", help="the whole encoder learns; else it is frozen")
    parser.add_argument("--data", metavar="SPEC", help="coco:IMAGES:JSON or a folder; made on the spot without it")
    parser.add_argument("--images", type=int, default=400, help="how many are made; a tenth of them validates (400)")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="a GPU where there is one")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that count, after a first one (5; at most 9)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
