"""Snowmelt's training step on one batch that lies on the device, with any number of blocks thawed."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

import torch
from torch import Tensor

from loops.networks import synchroniser
from loops.snowmelt_job import experiment
from loops.task import Task
from snowmelt.build import live_teaching, make_run
from snowmelt.data import Batch
from snowmelt.jobs.session import open_session
from snowmelt.jobs.teaching import find_teacher
from snowmelt.schedules import Schedules
from snowmelt.training import TrainState
from snowmelt.training.stages import enter_stage
from snowmelt.training.step import train_step

Teach = Callable[[Batch], Tensor]
UNTIMED = 1  # the first step after a thaw
SETTLED = 3  # steps until memory has reached its height


class ResidentStep:
    """A run without its data: one random batch, and the teacher's answers to it asked or given."""

    def __init__(self, task: Task) -> None:
        session = open_session(experiment(task))
        found = find_teacher(session)
        assert found is not None
        teaching = live_teaching(found.teacher)
        self._asked: Teach = teaching.train
        self._run = make_run(session.config, session.splits, session.engine, Path(task.folder), teaching=teaching)
        self._run.learner.to(session.engine.device)
        self._run.stepper = session.engine.set_up(self._run.optimizer)
        self._temperature = self._run.schedules.temperature_at(0)
        self._wait = synchroniser(session.engine.device.type)
        self._batch = random_batch(task).to(session.engine.device)
        given = self._asked(self._batch)
        self._given: Teach = lambda batch: given[: len(batch)]
        self.blocks = len(self._run.thaw.blocks)
        self.precision = session.engine.precision

    def seconds(self, thawed: int, asked: bool, steps: int) -> float:
        """Seconds a step, with the teacher asked or its answers given."""
        self._enter(thawed)
        for step in range(-UNTIMED, steps):
            if step == 0:
                self._wait()
                start = time.perf_counter()
            self._step(asked)
        self._wait()
        return (time.perf_counter() - start) / steps

    def kept_bytes(self, thawed: int) -> int:
        """What a step keeps between its forward and its backward pass, weights and their copies aside."""
        self._enter(thawed)
        network = self._run.learner
        weights = {tensor.untyped_storage().data_ptr() for tensor in (*network.parameters(), *network.buffers())}
        shapes = {parameter.shape for parameter in network.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            # A weight in another precision is a copy of it, and told by its shape.
            if storage.data_ptr() not in weights and tensor.shape not in shapes:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            self._step(asked=False)
        return sum(kept.values())

    def peak_bytes(self, thawed: int) -> int:
        """By how much memory rises over what is there before the first step."""
        self._enter(thawed)
        cuda = self._run.engine.device.type == "cuda"
        if cuda:
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        else:
            forget_peak()
            before = resident("VmRSS")
        for _ in range(SETTLED):
            self._step(asked=True)
        return (torch.cuda.max_memory_allocated() if cuda else resident("VmHWM")) - before

    def _enter(self, thawed: int) -> None:
        # The schedule that says at every epoch what this turn is about.
        Schedules.thawed_at = lambda schedules, epoch: thawed  # type: ignore[method-assign]
        enter_stage(self._run, TrainState())

    def _step(self, asked: bool) -> None:
        self._run.teacher = self._asked if asked else self._given
        train_step(self._run, self._batch, self._temperature, self._run.weights_at(TrainState()))


def random_batch(task: Task) -> Batch:
    generator = torch.Generator().manual_seed(0)
    shape = (task.batch, task.size, task.size)
    images = torch.randint(0, 256, (task.batch, 3, task.size, task.size), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, task.classes, shape, generator=generator, dtype=torch.uint8)
    return Batch(images, masks, torch.arange(task.batch))


def resident(what: str) -> int:
    """Bytes of this process in memory: ``VmRSS`` now, ``VmHWM`` the most since :func:`forget_peak`."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def forget_peak() -> None:
    """What the start has used does not count; where the kernel cannot forget, it does."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
