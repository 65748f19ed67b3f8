"""Losses in float32 log-space over valid pixels: pure functions first, thin modules over them."""

from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.modules import DistillationKL, LogitMSE, SegmentationLoss
from snowmelt.losses.objective import DISTILLATION_TERMS, Objective
from snowmelt.losses.segmentation import cross_entropy, dice

__all__ = [
    "DISTILLATION_TERMS",
    "DistillationKL",
    "LogitMSE",
    "Objective",
    "SegmentationLoss",
    "cross_entropy",
    "dice",
    "distillation_kl",
    "logit_mse",
]
