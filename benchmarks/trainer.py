"""One process of a ``crew``: a training run of Snowmelt that makes steps when it is asked to.

Requests come by stdin and answers go by stdout, a line of JSON each; what else is printed goes to stderr.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

import torch
from loops.snowmelt_job import experiment
from loops.task import ALL, Task
from torch.profiler import ProfilerActivity, profile

from snowmelt.build import make_run
from snowmelt.config import with_values
from snowmelt.data import Batch
from snowmelt.jobs.caching import prepare_teaching
from snowmelt.jobs.session import open_session
from snowmelt.jobs.teaching import find_teacher
from snowmelt.schedules import ThawSchedule
from snowmelt.training import TrainingRun, TrainState
from snowmelt.training.stages import calibrate, enter_stage
from snowmelt.training.step import train_step


class Trainer:
    """Steps of a run at a stage that can be changed."""

    def __init__(self, task: Task, settings: dict[str, Any], resident: bool) -> None:
        rank = os.environ.get("RANK", "0")
        config = experiment(replace(task, folder=str(Path(task.folder, rank))))  # each writes a teacher of its own
        session = open_session(with_values(config, settings), check=False)
        found, teaching = find_teacher(session), None
        if found is not None:
            session, teaching = prepare_teaching(session, found)
        folder = Path(task.folder, rank, "checkpoints")
        self.run: TrainingRun = make_run(session.config, session.splits, session.engine, folder, teaching=teaching)
        self.run.learner.to(session.engine.device)
        self.run.stepper = session.engine.set_up(self.run.optimizer)
        calibrate(self.run, TrainState())
        self.epoch = session.config.training.epochs - 1
        self.temperature = self.run.schedules.temperature_at(self.epoch)
        self.resident = resident
        self.batches = self._endless(resident)
        self.thaw(task.thawed)
        self.rest = self._memory("VmRSS")

    def _endless(self, resident: bool) -> Generator[Batch, None, None]:
        while True:
            self.run.sampler.set_position(self.epoch)
            for batch in self.run.train_batches:
                while resident:
                    yield batch
                yield batch
            self.epoch += 1

    def thaw(self, blocks: int) -> dict[str, Any]:
        count = len(self.run.thaw.blocks)
        thaw = ThawSchedule(most=count if blocks == ALL else blocks, progressive=False)
        self.run.schedules = replace(self.run.schedules, thaw=thaw)
        enter_stage(self.run, TrainState())
        return {"trainable": self.run.thaw.trainable_count(), "blocks": count}

    def steps(self, steps: int, cold: int = 0, batch: int | None = None) -> dict[str, Any]:
        """Images and seconds of so many steps, after ``cold`` others; ``batch``: use only so many images of each."""
        images, start = 0, 0.0
        for step in range(-cold, steps):
            if step == 0:
                start = self._clock()
            given = next(self.batches)[:batch]
            train_step(self.run, given, self.temperature, self.run.weights_at(TrainState()))
            images += len(given) if step >= 0 else 0
        return {"images": images, "seconds": self._clock() - start}

    def peak(self, steps: int, batch: int | None = None) -> dict[str, Any]:
        """Bytes by which memory rises in so many steps, over what was in use before the first of all."""
        if self._on_gpu:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew from what is in use now
        self.steps(steps, batch=batch)
        return {"bytes": self._memory("VmHWM") - self.rest}

    def collectives(self) -> dict[str, Any]:
        """Name and bytes of every call to a process group in one step, as the profiler saw them."""
        self.steps(3)  # the synchroniser orders its buckets anew after its first steps
        self.batches.close()
        self.epoch += 1
        self.batches = self._endless(self.resident)
        batch = next(self.batches)  # of a new epoch, as its last step may be a short one
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as seen:
            train_step(self.run, batch, self.temperature, self.run.weights_at(TrainState()))
        events = [event for event in seen.events() if event.name.startswith(("gloo:", "nccl:"))]
        return {"found": [[event.name.partition(":")[2], _bytes_of(event)] for event in events]}

    @property
    def _on_gpu(self) -> bool:
        return self.run.engine.device.type == "cuda"

    def _memory(self, field: str) -> int:
        """Bytes in use (``VmRSS``) or the most that were (``VmHWM``): the device's where it counts its own."""
        if self._on_gpu:
            return torch.cuda.memory_allocated() if field == "VmRSS" else torch.cuda.max_memory_allocated()
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

    def _clock(self) -> float:
        """The time at which every process has done what it was asked to."""
        if self._on_gpu:
            torch.cuda.synchronize()
        self.run.engine.barrier()
        return time.perf_counter()


SIZES = {"float": 4, "double": 8, "int": 4, "long int": 8, "unsigned char": 1, "bool": 1}
"""Bytes of a number, by the profiler's name for its type; all others are half-precision floats."""


def _bytes_of(event: Any) -> int:
    """Of all tensors that a profiled call was given."""
    pairs = zip(event.input_shapes, event.input_dtypes, strict=True)
    return sum(math.prod(shape) * SIZES.get(kind, 2) for shape, kind in pairs if kind)


def main() -> None:
    about = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    trainer = Trainer(Task.from_json(about["task"]), about["settings"], about["resident"])

    def answer(values: dict[str, Any]) -> None:
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    answer({"blocks": len(trainer.run.thaw.blocks), "precision": trainer.run.engine.precision})
    for line in sys.stdin:
        request = json.loads(line)
        answer(getattr(trainer, request.pop("do"))(**request))


if __name__ == "__main__":
    main()
