"""Snowmelt as it is: ``snowmelt train`` with everything on, which one more listener holds up between two turns."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

from loops.gate import Gate
from loops.networks import build, synchroniser
from loops.task import ALL, Task
from snowmelt.config import ExperimentConfig, NetworkConfig, with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.jobs import running, train_experiment
from snowmelt.models import save_weights
from snowmelt.schedules import Schedules
from snowmelt.training import Announcer, Listener, TrainingRun, TrainState
from snowmelt.training.events import Event, RunStarted, StepEnded
from snowmelt.training.stages import enter_stage

VALIDATION = 0.1


class Turnstile(Listener):
    """The last listener: when it is told of a step, all others have dealt with it."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.steps_per_epoch = 0

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.steps_per_epoch = event.steps_per_epoch
        elif isinstance(event, StepEnded):
            self.gate.passed(event.images)
            if event.step_in_epoch == self.steps_per_epoch:
                self.gate.pause()


def experiment(task: Task) -> ExperimentConfig:
    """The reference experiment with the task's networks, data and sizes."""
    networks = {"student": {"encoder": task.student, "weights": "none"}}
    teacher = {"network": {"encoder": task.teacher}, "source": "none", "mode": "auto"}
    if task.teaching != "none":
        teacher |= {"source": f"weights:{teacher_file(task)}", "mode": task.teaching}
    values = {
        **networks,
        "name": "run",
        "output": task.folder,
        "data": {"source": task.data, "image_size": task.size, "val_fraction": VALIDATION},
        "teacher": teacher,
        "training": {
            "epochs": task.epochs,
            "batch_size": task.batch,
            "device": task.device,
            "compile": task.compile,
            "calibration_batches": 2,
        },
    }
    return with_values(ConfigManager.get_config(REFERENCE), values)


def teacher_file(task: Task) -> str:
    """Weights of a random teacher, as Snowmelt writes them: they say themselves which network they are of."""
    settings = NetworkConfig(encoder=task.teacher)
    path = task.path / "teacher.safetensors"
    network = {**settings.model_dump(exclude={"weights"}), "out_channels": task.channels}
    task.path.mkdir(parents=True, exist_ok=True)
    save_weights(path, build(task.teacher, task, seed=1), {"network": network, "image_size": task.size})
    return str(path)


def take_over_thawing(gate: Gate, thawed: int) -> None:
    """Let the turns and not the schedule say how many blocks learn, by the loop's own way into a stage."""
    wanted = {"blocks": thawed}

    def thawed_at(schedules: Schedules, epoch: int) -> int:
        return len(schedules.blocks) if wanted["blocks"] == ALL else wanted["blocks"]

    make_run: Callable[..., TrainingRun] = running.make_run

    def make_and_remember(*arguments: Any, **options: Any) -> TrainingRun:
        run = make_run(*arguments, **options)

        def change(blocks: int) -> None:
            wanted["blocks"] = blocks
            enter_stage(run, TrainState())

        gate.thaw, gate.about = change, {"blocks": len(run.thaw.blocks)}
        return run

    Schedules.thawed_at = thawed_at  # type: ignore[method-assign]
    running.make_run = make_and_remember  # type: ignore[attr-defined]


def main(task: Task) -> None:
    gate = Gate(synchroniser(task.device))
    take_over_thawing(gate, task.thawed)
    running.Announcer = lambda listeners, **options: Announcer([*listeners, Turnstile(gate)], **options)  # type: ignore[attr-defined]
    train_experiment(experiment(task), overwrite=True)


if __name__ == "__main__":
    main(Task.from_json(sys.argv[1]))
