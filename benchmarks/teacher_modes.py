"""Images per second of plain fine-tuning and of distillation with a live and with a cached teacher, within one run.

    python benchmarks/teacher_modes.py CONFIG [--set a.b=c ...] [--rounds 7] [--steps 12] [--thawed all] [--json FILE]

The three contenders train the same student on the same images, with everything that training does at a step (loading
from disk, augmentation, teacher, losses, clipping, optimizer), and take turns; the order rotates round by round.
The first steps of a turn are not timed, as loading processes have run ahead meanwhile. Prints the median images per
second of each, and the median over rounds of the quotient to plain.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

import torch

from snowmelt.build import BuiltTeaching, live_teaching, make_run
from snowmelt.config import with_values
from snowmelt.data import Batch
from snowmelt.jobs import prepare
from snowmelt.jobs.caching import fill_cache
from snowmelt.jobs.session import Session, open_session
from snowmelt.jobs.teaching import find_teacher
from snowmelt.training import TrainingRun, TrainState
from snowmelt.training.stages import enter_stage
from snowmelt.training.step import train_step

UNTIMED = 3  # steps at the head of a turn: what was loaded ahead has to be used up first


class Contender:
    """One way to train, that goes on where its last turn ended."""

    def __init__(self, session: Session, folder: Path, teaching: BuiltTeaching | None, thawed: int | None) -> None:
        thaw = {"progressive": thawed is not None, "start": 0, "every": 1, "most": thawed}
        values: dict[str, Any] = {"thaw": thaw, "distillation": {"enabled": teaching is not None}}
        config = with_values(session.config, values)
        self.run: TrainingRun = make_run(config, session.splits, session.engine, folder, teaching=teaching)
        self.run.network.to(session.engine.device)
        self.run.stepper = session.engine.set_up(self.run.optimizer)
        self.epoch = config.training.epochs - 1
        enter_stage(self.run, TrainState(epoch=self.epoch))
        self.temperature = self.run.schedules.temperature_at(self.epoch)
        self.batches = self._endless()

    def _endless(self) -> Iterator[Batch]:
        while True:
            self.run.sampler.set_position(self.epoch)
            yield from self.run.train_batches
            self.epoch += 1

    def turn(self, steps: int) -> float:
        """Images per second over ``steps`` steps."""
        images = 0
        for step in range(-UNTIMED, steps):
            if step == 0:
                _wait(self.run)
                start = time.perf_counter()
            batch = next(self.batches)
            train_step(self.run, batch, self.temperature, self.run.weights_at(TrainState()))
            images += len(batch) if step >= 0 else 0
        _wait(self.run)
        return images / (time.perf_counter() - start)


def _wait(run: TrainingRun) -> None:
    if run.engine.device.type == "cuda":
        torch.cuda.synchronize()


def measure(contenders: dict[str, Contender], rounds: int, steps: int) -> dict[str, list[float]]:
    """Images per second by contender and round; a first round warms up and is dropped."""
    names, speeds = list(contenders), {name: [] for name in contenders}
    for round_ in range(rounds + 1):
        order = [names[(round_ + place) % len(names)] for place in range(len(names))]
        for name in order:
            speed = contenders[name].turn(steps)
            if round_:
                speeds[name].append(speed)
    return speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="A.B=C")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--thawed", default="all", help="encoder blocks that learn: a number, or all")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    thawed = None if arguments.thawed == "all" else int(arguments.thawed)
    session = open_session(prepare(arguments.config, overrides=arguments.overrides))
    found = find_teacher(session)
    assert found is not None, "the experiment has no teacher"
    cached, cache, report = fill_cache(session, found)
    with tempfile.TemporaryDirectory() as folder:
        teachings = {"plain": None, "live": live_teaching(found.teacher), "cached": cached}
        contenders = {
            name: Contender(session, Path(folder, name), teaching, thawed) for name, teaching in teachings.items()
        }
        speeds = measure(contenders, arguments.rounds, arguments.steps)
    result = {
        "machine": f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "precision": session.engine.precision,
        "batch": session.config.training.batch_size,
        "image_size": session.config.data.image_size,
        "thawed": arguments.thawed,
        "bytes_per_image": cache.encoding.row_bytes,
        "pass_seconds": report.seconds if report.images else None,
        "images_per_second": {name: statistics.median(values) for name, values in speeds.items()},
        "to_plain": {
            name: statistics.median(a / b for a, b in zip(values, speeds["plain"], strict=True))
            for name, values in speeds.items()
        },
        "rounds": speeds,
    }
    print(f"\n{'':8}{'images/s':>10}{'to plain':>10}{'lowest':>9}{'highest':>9}")
    for name, values in speeds.items():
        print(
            f"{name:8}{result['images_per_second'][name]:10.1f}{result['to_plain'][name]:10.3f}"
            f"{min(values):9.1f}{max(values):9.1f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
