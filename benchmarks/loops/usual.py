"""The usual loop, as such trainers are mostly written: float32, NCHW, item by item, ``.item()`` at each step."""

from __future__ import annotations

import sys

import torch
from torch.utils.data import DataLoader

from loops.gate import Gate
from loops.items import Items, in_float
from loops.losses import Losses
from loops.networks import build, freezer, synchroniser
from loops.task import Task


def main(task: Task) -> None:
    gate = Gate(synchroniser(task.device))
    student = build(task.student, task, seed=0).to(task.device).train()
    teacher = None if task.teaching == "none" else build(task.teacher, task, seed=1).to(task.device).eval()
    gate.thaw = freezer(student)
    gate.thaw(task.thawed)
    loader = DataLoader(
        Items(task.data, in_float(task.size), task.size),
        batch_size=task.batch,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
    )
    losses = Losses(task.channels)
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-5, weight_decay=1e-2)
    while True:
        running: dict[str, float] = {}
        for images, masks in loader:
            images, masks = images.to(task.device), masks.to(task.device).long()
            taught = None
            if teacher is not None:
                with torch.no_grad():
                    taught = teacher(images)
            terms = losses(student(images), taught, masks)
            optimizer.zero_grad()
            terms["total"].backward()
            optimizer.step()
            for name, value in terms.items():
                running[name] = running.get(name, 0.0) + value.item()
            gate.passed(len(images))
        gate.pause()


if __name__ == "__main__":
    main(Task.from_json(sys.argv[1]))
