"""Your own loop: cooling, thawing and the distillation loss in plain PyTorch, in twenty lines.

    python examples/your_loop.py

Nothing of Snowmelt's training is used: no settings, no run folder. ``distil`` is all there is to it.
"""

from __future__ import annotations

from collections.abc import Sequence

import segmentation_models_pytorch as smp
import torch
from torch import nn
from torch.optim import AdamW

from snowmelt.data import ScenesSource
from snowmelt.losses import cross_entropy, dice, distillation_kl
from snowmelt.models import Thaw
from snowmelt.schedules import TemperatureSchedule, ThawSchedule

Batches = Sequence[tuple[torch.Tensor, torch.Tensor]]


def distil(student: nn.Module, teacher: nn.Module, batches: Batches, epochs: int, lr: float = 1e-3) -> list[float]:
    """Mean loss of each epoch. ``batches``: (B, 3, H, W) images and (B, H, W) masks, 255 where ignored."""
    cooling = TemperatureSchedule("cosine", initial=4.0, final=1.0)
    thawing = ThawSchedule(start=1, every=1, lr_scale=0.5)
    thaw = Thaw(student, lr_scale=thawing.lr_scale)  # any model with an encoder
    optimizer = AdamW(thaw.param_groups(lr=lr, weight_decay=1e-2))  # all blocks, from the first step to the last
    teacher.eval()
    losses = []
    for epoch in range(epochs):
        temperature = cooling.at(epoch, epochs)
        student.train()
        thaw.to(thawing.blocks_at(epoch, len(thaw.blocks)))  # frozen blocks stay in eval mode whatever train() does
        total = 0.0
        for images, masks in batches:
            with torch.no_grad():
                told = teacher(images)
            logits = student(images)
            task = cross_entropy(logits, masks) + dice(logits, masks)
            loss = 0.5 * task + 0.5 * distillation_kl(logits, told, temperature, valid=masks != 255)  # T^2 is inside
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / len(batches))
        print(f"epoch {epoch}: T {temperature:.2f}, {thaw.thawed} of {len(thaw.blocks)} blocks, loss {losses[-1]:.4f}")
    return losses


def scenes(count: int = 16, size: int = 64, batch: int = 4) -> Batches:
    """Your data loader's place."""
    source = ScenesSource(count, seed=0, size=size)
    samples = [source.load(index) for index in range(count)]
    images = torch.stack([torch.from_numpy(sample.image).permute(2, 0, 1) / 255 for sample in samples])
    masks = torch.stack([torch.from_numpy(sample.mask).long() for sample in samples])
    return list(zip(images.split(batch), masks.split(batch), strict=True))


def main() -> list[float]:
    torch.manual_seed(0)
    encoder = "tu-mobilenetv3_small_050"
    student = smp.Unet(encoder, encoder_weights=None, decoder_channels=(32, 16, 16, 8, 8))
    teacher = smp.Unet(encoder, encoder_weights=None)  # yours is trained already
    return distil(student, teacher, scenes(), epochs=4)


if __name__ == "__main__":
    main()
