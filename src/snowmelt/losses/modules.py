"""The pure losses as ``nn.Module``, for programs that compose losses as modules. They hold no parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.segmentation import cross_entropy, dice


class DistillationKL(nn.Module):
    """``distillation_kl``; ``temperature`` is an ordinary attribute that a schedule may set."""

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        return distillation_kl(student_logits, teacher_logits, self.temperature, valid)


class LogitMSE(nn.Module):
    """``logit_mse``."""

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        return logit_mse(student_logits, teacher_logits, valid)


class SegmentationLoss(nn.Module):
    """``ce_weight`` times ``cross_entropy`` plus ``dice_weight`` times ``dice``."""

    def __init__(
        self,
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        class_weights: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.class_weights = class_weights
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        total = logits.new_zeros(())
        if self.ce_weight:
            total = total + self.ce_weight * cross_entropy(logits, target, self.ignore_index, self.class_weights)
        if self.dice_weight:
            total = total + self.dice_weight * dice(logits, target, self.ignore_index)
        return total
