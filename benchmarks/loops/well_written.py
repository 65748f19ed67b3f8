"""A well-written loop: Lightning's Trainer with autocast, channels_last and torchvision's transforms on bytes."""

from __future__ import annotations

import logging
import sys
import warnings
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import functional as F

from loops.gate import Gate
from loops.items import MEAN, STD, Items, in_bytes
from loops.losses import Losses
from loops.networks import build, freezer, synchroniser
from loops.task import Task
from snowmelt.training.engine import resolve_precision

LOG_EVERY = 50


class Distillation(lightning.LightningModule):
    """The student, and the teacher beside it: no submodule, so that it stays in eval mode and out of checkpoints."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.student = build(task.student, task, seed=0).to(memory_format=torch.channels_last)
        teacher = None if task.teaching == "none" else build(task.teacher, task, seed=1)
        if teacher is not None:
            teacher = teacher.to(task.device, memory_format=torch.channels_last).eval().requires_grad_(False)
        self.beside = (teacher,)
        self.losses = Losses(task.channels)

    def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
        images, masks = batch[0].contiguous(memory_format=torch.channels_last), batch[1].long()
        images = F.normalize(images.float() / 255, MEAN, STD)
        taught = None
        if self.beside[0] is not None:
            with torch.no_grad():
                taught = self.beside[0](images).float()
        terms = self.losses(self.student(images).float(), taught, masks)
        self.log_dict({name: value.detach() for name, value in terms.items()})
        return terms["total"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.student.parameters(), lr=1e-5, weight_decay=1e-2, fused=True)


class Turnstile(lightning.Callback):
    """Stands between the trainer and the gate."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.gate.passed(len(batch[0]))

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.gate.pause()


def main(task: Task) -> None:
    gate = Gate(synchroniser(task.device))
    warnings.filterwarnings("ignore")  # advice about workers and missing loggers, which is for others
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    module = Distillation(task)
    gate.thaw = freezer(module.student)
    gate.thaw(task.thawed)
    loader = DataLoader(
        Items(task.data, in_bytes(task.size), task.size),
        batch_size=task.batch,
        shuffle=True,
        drop_last=True,
        num_workers=task.workers,
        persistent_workers=task.workers > 0,
        pin_memory=task.device == "cuda",
    )
    trainer = lightning.Trainer(
        accelerator="gpu" if task.device == "cuda" else task.device,
        devices=1,
        precision="bf16-mixed" if resolve_precision("auto", task.device) == "bf16" else "32-true",
        max_epochs=-1,
        log_every_n_steps=LOG_EVERY,
        gradient_clip_val=None,
        benchmark=True,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=lightning.loggers.CSVLogger(task.folder),
        callbacks=[Turnstile(gate)],
        default_root_dir=task.folder,
    )
    trainer.fit(module, loader)


if __name__ == "__main__":
    main(Task.from_json(sys.argv[1]))
