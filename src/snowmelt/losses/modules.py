"""The pure losses as ``nn.Module``, for programs that compose losses as modules. They hold no parameters."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from snowmelt.losses.channelwise import channel_wise_distillation
from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.features import feature_matching
from snowmelt.losses.relations import dist_inter, dist_intra
from snowmelt.losses.segmentation import cross_entropy, dice
from snowmelt.losses.standardisation import standardised_kl


class DistillationKL(nn.Module):
    """``distillation_kl``, or ``standardised_kl``; ``temperature`` is an ordinary attribute that a schedule may set."""

    def __init__(self, temperature: float = 4.0, standardise: bool = False) -> None:
        super().__init__()
        self.temperature = temperature
        self.standardise = standardise

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        loss = standardised_kl if self.standardise else distillation_kl
        return loss(student_logits, teacher_logits, self.temperature, valid)


class LogitMSE(nn.Module):
    """``logit_mse``."""

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        return logit_mse(student_logits, teacher_logits, valid)


class ChannelWiseDistillation(nn.Module):
    """``channel_wise_distillation``; ``temperature`` is an ordinary attribute that a schedule may set."""

    def __init__(self, temperature: float = 4.0) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        return channel_wise_distillation(student_logits, teacher_logits, self.temperature, valid)


class DIST(nn.Module):
    """``inter_weight`` times ``dist_inter`` plus ``intra_weight`` times ``dist_intra``.

    ``temperature`` is an ordinary attribute that a schedule may set. With fewer than 3 channels ``inter_weight`` has
    to be 0.
    """

    def __init__(self, inter_weight: float = 1.0, intra_weight: float = 1.0, temperature: float = 1.0) -> None:
        super().__init__()
        self.inter_weight = inter_weight
        self.intra_weight = intra_weight
        self.temperature = temperature

    def forward(self, student_logits: Tensor, teacher_logits: Tensor, valid: Tensor | None = None) -> Tensor:
        total = student_logits.new_zeros(())
        for weight, loss in ((self.inter_weight, dist_inter), (self.intra_weight, dist_intra)):
            if weight:
                total = total + weight * loss(student_logits, teacher_logits, self.temperature, valid)
        return total


class FeatureMatching(nn.Module):
    """``feature_matching``. What projects the student's features is a ``FeatureProjection`` of the caller's."""

    def forward(self, student: Tensor, teacher: Tensor, valid: Tensor | None = None) -> Tensor:
        return feature_matching(student, teacher, valid)


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
