"""Losses in float32 log-space over valid pixels: pure functions first, thin modules over them."""

from snowmelt.losses.channelwise import channel_wise_distillation
from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.features import FeatureProjection, feature_matching
from snowmelt.losses.modules import (
    DIST,
    ChannelWiseDistillation,
    DistillationKL,
    FeatureMatching,
    LogitMSE,
    SegmentationLoss,
)
from snowmelt.losses.objective import Objective
from snowmelt.losses.relations import dist_inter, dist_intra
from snowmelt.losses.segmentation import cross_entropy, dice
from snowmelt.losses.standardisation import standardise_logits, standardised_kl
from snowmelt.losses.terms import DISTILLATION_TERMS, Term, untempered

__all__ = [
    "DIST",
    "DISTILLATION_TERMS",
    "ChannelWiseDistillation",
    "DistillationKL",
    "FeatureMatching",
    "FeatureProjection",
    "LogitMSE",
    "Objective",
    "SegmentationLoss",
    "Term",
    "channel_wise_distillation",
    "cross_entropy",
    "dice",
    "dist_inter",
    "dist_intra",
    "distillation_kl",
    "feature_matching",
    "logit_mse",
    "standardise_logits",
    "standardised_kl",
    "untempered",
]
