"""No arithmetic of a loss runs under autocast, and no half-precision tensor takes part in it."""

from __future__ import annotations

import pytest
import torch
from torch.overrides import TorchFunctionMode

from snowmelt.losses import (
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
from snowmelt.losses.precision import loss_dtype, without_autocast


class Watch(TorchFunctionMode):
    """Notes whether autocast was on at each call of arithmetic."""

    def __init__(self) -> None:
        super().__init__()
        self.autocast: dict[str, bool] = {}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.autocast[getattr(function, "__name__", "?")] = torch.is_autocast_enabled("cpu")
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "loss",
    [
        distillation_kl,
        logit_mse,
        channel_wise_distillation,
        dist_inter,
        dist_intra,
        feature_matching,
        standardised_kl,
        cross_entropy,
        dice,
    ],
)
def test_autocast_is_off_inside(loss) -> None:
    logits = torch.randn(1, 3, 3, 3).bfloat16()
    other = torch.zeros(1, 3, 3, dtype=torch.uint8) if loss in (cross_entropy, dice) else logits.flip(3)
    with torch.autocast("cpu", dtype=torch.bfloat16), Watch() as watch:
        loss(logits, other)
        assert torch.is_autocast_enabled("cpu")
    assert watch.autocast["sum"] is False


def test_autocast_is_switched_off_where_it_exists() -> None:
    with torch.autocast("cpu"), without_autocast(torch.device("cpu")):
        assert not torch.is_autocast_enabled("cpu")
    with without_autocast(torch.device("meta")):
        pass


def test_double_stays_double_and_half_becomes_single() -> None:
    half, brain, single, double = (
        torch.zeros(1, dtype=d) for d in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    )
    assert loss_dtype(half) == loss_dtype(brain, half) == loss_dtype(single, brain) == torch.float32
    assert loss_dtype(half, double) == torch.float64
