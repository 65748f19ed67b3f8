"""The losses of an ordinary distillation loop: cross-entropy and Dice against the masks, KL against the teacher."""

from __future__ import annotations

import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORE = 255
TEMPERATURE = 4.0
ALPHA = 0.5


class Losses:
    """Logits (B, C, H, W), the teacher's or ``None``, masks (B, H, W) long -> each term and their total."""

    def __init__(self, channels: int) -> None:
        self.binary = channels == 1
        self.dice = smp.losses.DiceLoss("binary" if self.binary else "multiclass", ignore_index=IGNORE)

    def __call__(self, logits: Tensor, taught: Tensor | None, masks: Tensor) -> dict[str, Tensor]:
        terms = {"ce": self._cross_entropy(logits, masks), "dice": self.dice(logits, masks)}
        task = terms["ce"] + terms["dice"]
        if taught is None:
            return {**terms, "total": task}
        terms["kl"] = self._divergence(logits, taught)
        return {**terms, "total": (1 - ALPHA) * task + ALPHA * terms["kl"]}

    def _cross_entropy(self, logits: Tensor, masks: Tensor) -> Tensor:
        if not self.binary:
            return F.cross_entropy(logits, masks, ignore_index=IGNORE)
        valid = masks != IGNORE
        by_pixel = F.binary_cross_entropy_with_logits(logits[:, 0], masks.clamp(max=1).float(), reduction="none")
        return (by_pixel * valid).sum() / valid.sum().clamp(min=1)

    def _divergence(self, logits: Tensor, taught: Tensor) -> Tensor:
        scale = TEMPERATURE**2
        if not self.binary:
            student, teacher = F.log_softmax(logits / TEMPERATURE, 1), F.softmax(taught / TEMPERATURE, 1)
            return F.kl_div(student, teacher, reduction="none").sum(1).mean() * scale
        probability = torch.sigmoid(taught / TEMPERATURE)
        return F.binary_cross_entropy_with_logits(logits / TEMPERATURE, probability) * scale
