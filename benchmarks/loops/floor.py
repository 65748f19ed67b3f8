"""The floor: the arithmetic of a step on tensors that lie there, in the fastest arrangement known, and nothing else."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

import torch
from torch import nn

from loops.gate import Gate
from loops.networks import build, synchroniser
from loops.task import ALL, Task
from snowmelt.models import Thaw, fold_norms, quicken
from snowmelt.training.engine import resolve_precision


def main(task: Task) -> None:
    gate = Gate(synchroniser(task.device))
    device, half = task.device, resolve_precision("auto", task.device) == "bf16"
    torch.backends.cudnn.benchmark = True
    student = quicken(build(task.student, task, seed=0))
    student = student.to(device, memory_format=torch.channels_last).train()
    teacher = None if task.teaching == "none" else resident_teacher(task, half)
    thaw = Thaw(student)
    optimizer = torch.optim.AdamW(thaw.param_groups(lr=1e-5, weight_decay=1e-2), fused=device in ("cpu", "cuda"))
    called = student
    if task.compile:
        called, teacher = torch.compile(student), None if teacher is None else torch.compile(teacher)
    images = torch.randn(task.batch, 3, task.size, task.size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    seen = images.bfloat16() if half else images
    gradient = torch.randn(task.batch, task.channels, task.size, task.size, device=device) * 1e-6

    def change(thawed: int) -> None:
        thaw.to(len(thaw.blocks) if thawed == ALL else thawed)
        if task.compile:
            torch.compiler.reset()

    change(task.thawed)
    gate.thaw = change
    gate.about = {"blocks": len(thaw.blocks)}
    while True:
        if teacher is not None:
            with torch.inference_mode():
                teacher(seen)
        with autocast(device, half):
            logits = called(images)
        logits.backward(gradient.to(logits.dtype))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        gate.passed(task.batch)


def resident_teacher(task: Task, half: bool) -> nn.Module:
    """The teacher with its norms folded, and weights in the precision in which it computes."""
    teacher = fold_norms(quicken(build(task.teacher, task, seed=1))).to(task.device, memory_format=torch.channels_last)
    return teacher.bfloat16() if half else teacher


def autocast(device: str, half: bool) -> AbstractContextManager[None]:
    return torch.autocast(device, torch.bfloat16, enabled=half)


if __name__ == "__main__":
    main(Task.from_json(sys.argv[1]))
