"""The modules say what the functions say, and hold nothing."""

from __future__ import annotations

import torch

from snowmelt.losses import (
    DIST,
    ChannelWiseDistillation,
    DistillationKL,
    FeatureMatching,
    LogitMSE,
    SegmentationLoss,
    channel_wise_distillation,
    cross_entropy,
    dice,
    dist_inter,
    dist_intra,
    distillation_kl,
    feature_matching,
    logit_mse,
    standardised_kl,
)


def test_modules_equal_their_functions() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 4, 4, dtype=torch.uint8)
    target[0, 0], target[1, 1] = 255, 2
    valid = target != 255
    kl = DistillationKL(temperature=4.0)
    kl.temperature = 2.0
    assert torch.equal(kl(student, teacher, valid), distillation_kl(student, teacher, 2.0, valid))
    assert torch.equal(LogitMSE()(student, teacher, valid), logit_mse(student, teacher, valid))
    task = SegmentationLoss(2.0, 0.5, class_weights=(1.0, 2.0, 3.0))
    expected = 2 * cross_entropy(student, target, class_weights=(1.0, 2.0, 3.0)) + 0.5 * dice(student, target)
    assert torch.allclose(task(student, target), expected)
    assert not task.state_dict() and not list(task.parameters())
    only_dice = SegmentationLoss(ce_weight=0.0)
    assert torch.equal(only_dice(student, target), dice(student, target))


def test_modules_of_the_other_distillation_losses() -> None:
    student, teacher = torch.randn(2, 2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    valid = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)) > 0.3
    wise = ChannelWiseDistillation(temperature=4.0)
    wise.temperature = 2.0
    assert torch.equal(wise(student, teacher, valid), channel_wise_distillation(student, teacher, 2.0, valid))
    inter, intra = (loss(student, teacher, 3.0, valid) for loss in (dist_inter, dist_intra))
    assert torch.equal(DIST(2.0, 0.5, 3.0)(student, teacher, valid), 2 * inter + 0.5 * intra)
    assert torch.equal(DIST(inter_weight=0.0, temperature=3.0)(student, teacher, valid), intra)
    assert torch.isfinite(DIST(inter_weight=0.0)(student[:, :1], teacher[:, :1]))
    assert torch.equal(FeatureMatching()(student, teacher, valid), feature_matching(student, teacher, valid))
    standardised = DistillationKL(2.0, standardise=True)
    assert torch.equal(standardised(student, teacher, valid), standardised_kl(student, teacher, 2.0, valid))
