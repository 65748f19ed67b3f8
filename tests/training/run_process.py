"""The runs of test_processes.py: forks as many processes as it is asked for, which train and leave the weights."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import lightning_fabric  # noqa: F401  # the engine imports it when it is made, which would be once in every fork
import torch
from faults import Fault
from forking_torchrun import launch
from tiny_runs import Recorder, mislead, network_without_batch_statistics, start_run
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from snowmelt.config import merge
from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine, TrainingRun, TrainState, fit
from snowmelt.training.causes import LOSS
from snowmelt.training.events import EpochEnded, StepEnded
from snowmelt.training.suspects import Suspects

DATA: dict[str, Any] = {"augmentation": "light", "val_fraction": 0.1}
VARIANTS: dict[str, dict[str, Any]] = {
    # In batches of 4 the last step has 3 images, so two processes hold unequal numbers of valid pixels.
    "plain": {"data": {**DATA, "source": "scenes:7"}},
    # The same, but the second process runs out of memory once, in the second epoch.
    "short": {"data": {**DATA, "source": "scenes:7"}, "reactions": {"memory": "refuse"}},
    # The same, but the second process's teacher says nothing finite from the second epoch on.
    "faulty": {"data": {**DATA, "source": "scenes:7"}, "training": {"max_skipped": 2}},
    # In batches of 3 the last step has 2, so the last of three processes holds a filler.
    # Validation labels are all background but in the first epoch, which Dice likes less: the guard reacts.
    "everything": {
        "data": {**DATA, "source": "scenes:8"},
        "unlabelled": True,
        "distillation": {
            "cwd_weight": 1.0,
            "feature_weight": 1.0,
            "feature_layers": ["encoder.3", "decoder.1"],
            "weight_schedules": {"alpha": {"kind": "linear", "initial": 0.8, "final": 0.4}},
        },
        "training": {"average": 0.6},
        "reactions": {"thaw_guard": True, "guard_patience": 1, "block_warmup": 1.5},
    },
}


def train(folder: Path, batch_size: int, accumulate: int = 1, variant: str = "plain") -> None:
    """A whole run of this process and its fellows, if it has any; the first leaves ``result.pt``."""
    recorder = Recorder()
    training = {"epochs": 3, "batch_size": batch_size, "accumulate": accumulate}
    run = start_run(
        folder,
        listeners=(recorder,),
        network=network_without_batch_statistics(),
        thaw={"start": 1, "every": 1, "lr_scale": 1.0},
        **merge({"training": training, "optimizer": {"lr": 1e-3}}, VARIANTS[variant]),
    )
    if variant == "everything":
        mislead(run, (0,))
    for group in run.optimizer.param_groups:
        group["eps"] = 1e-4  # else AdamW makes a whole step of a gradient that is nothing but rounding
    if variant == "short":
        fail_once(run, recorder, folder / "failed")
    if variant == "faulty":
        fail_to_the_end(run, recorder, folder)
        return
    synchronised = count_synchronisations(run.engine)
    state_at_end = fit(run)
    guard = state_at_end.guard
    slowed = torch.tensor(guard.factors, device=run.engine.device)
    norm = nn.BatchNorm1d(2)
    assert norm.running_mean is not None
    norm.running_mean.fill_(run.engine.rank)
    run.engine.wrap(norm)
    buffers = run.engine.sum_over_processes(norm.running_mean)
    suspects, state = Suspects(run.engine, 2), TrainState()
    device = run.engine.device
    indices, sound = torch.tensor([10 + run.engine.rank, -1]), torch.ones(2, dtype=torch.bool, device=device)
    suspects.add(indices, torch.tensor(LOSS, device=device), sound)
    suspects.read(state)
    slowed = run.engine.sum_over_processes(slowed) / run.engine.world_size
    if run.engine.rank == 0:
        rows = [(event.record.train, event.record.val, event.record.miou) for event in recorder.of(EpochEnded)]
        learned = run.learner.state_dict()
        found = {"network": learned, "rows": rows, "synchronised": synchronised, "suspects": state.suspects}
        found["buffers"] = buffers
        found["slowed"] = slowed
        found["average"] = None if run.average is None else run.average.state_dict()
        found["micro_batch"] = state_at_end.micro_batch
        torch.save(found, folder / "result.pt")


def fail_once(run: TrainingRun, recorder: Recorder, mark: Path) -> None:
    """Run out of memory in one process, in the first step of the second epoch, unless ``mark`` says it has happened."""

    def fail(*_: object) -> None:
        if run.engine.rank == 1 and len(recorder.of(EpochEnded)) == 1 and not mark.exists():
            mark.touch()
            torch.empty(1 << 50, dtype=torch.uint8)

    run.network.segmentation_head.register_forward_hook(fail)


def fail_to_the_end(run: TrainingRun, recorder: Recorder, folder: Path) -> None:
    """Leave what each process made of it."""
    Fault(run, lambda done: done >= 3, rank=1)
    try:
        fit(run)
    except SnowmeltError as error:
        state = torch.load(run.checkpoints.last, weights_only=True)["state"]
        found = {
            "error": str(error),
            "rollbacks": state["rollbacks"],
            "steps": [event.step for event in recorder.of(StepEnded)],
            "network": {name: value.clone() for name, value in run.network.state_dict().items()},
        }
        torch.save(found, folder / f"result.{run.engine.rank}.pt")
    run.engine.barrier()


def count_synchronisations(engine: Engine) -> list[int]:
    """A list that gets a number of buckets whenever the gradients were brought together."""
    counts: list[int] = []
    wrap = engine.wrap

    def hook(group, bucket):  # type: ignore[no-untyped-def]  # annotations as text are refused
        if bucket.is_last():
            counts.append(bucket.index() + 1)
        return allreduce_hook(group, bucket)

    def wrap_counted(network: nn.Module, before: nn.Module | None = None) -> nn.Module:
        wrapped = wrap(network, before)
        if engine.world_size > 1:
            wrapped._forward_module.register_comm_hook(None, hook)
        return wrapped

    engine.wrap = wrap_counted  # type: ignore[method-assign]
    return counts


def join(rank: int, processes: int, port: int, folder: str, *run: Any) -> None:
    """Train as one of ``processes``, with the environment that ``torchrun`` would give."""
    os.dup2(os.open(f"{folder}/said.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)  # on which the parent answers
    ranks = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in ranks.items()}, MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)
    train(Path(folder), *run)


def under_torchrun(folder: str, *run: Any) -> None:
    """Be a ``torchrun`` with two processes."""
    os.dup2(os.open(f"{folder}/said.torchrun", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(2, 1)
    launch(["--nproc_per_node=2"], train, Path(folder), *run)


def serve() -> None:
    """Read what to train, a line each, and answer with the exit codes of the processes that did.

    No number of processes means two of a ``torchrun``, whose code it is then.

    Nothing was computed here before a fork, so nothing of PyTorch's that a fork does not survive has begun.
    """
    context = multiprocessing.get_context("fork")
    for line in sys.stdin:
        processes, *run = json.loads(line)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        crew = [context.Process(target=join, args=(rank, processes, port, *run)) for rank in range(processes or 0)]
        crew = crew or [context.Process(target=under_torchrun, args=run)]
        for member in crew:
            member.start()
        for member in crew:
            member.join(timeout=400)
        codes = [member.exitcode for member in crew]
        for member in crew:
            member.kill()
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    serve()
