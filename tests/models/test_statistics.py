"""A random encoder is blind in eval mode until its norms have seen images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Thaw, build_network, calibrate_norms


def batches(count: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, 64, 64, generator=generator) for _ in range(count)]


def deepest_deviation(encoder: nn.Module) -> float:
    with torch.no_grad():
        return encoder.eval()(batches(1, seed=1)[0])[-1].std().item()


def test_the_deepest_features_of_a_random_encoder_come_alive() -> None:
    torch.manual_seed(0)
    encoder = build_network("unet", "timm-efficientnet-b0").encoder
    assert deepest_deviation(encoder) < 1e-3
    assert calibrate_norms(encoder, iter(batches(32))) == 32
    assert 0.1 < deepest_deviation(encoder) < 10.0


def test_statistics_are_the_plain_average_over_batches() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    norm[0].running_mean.fill_(100.0)
    norm[0].num_batches_tracked.fill_(10)
    given = batches(3)
    calibrate_norms(norm, given)
    mean = torch.stack([batch.mean(dim=(0, 2, 3)) for batch in given]).mean(0)
    variance = torch.stack([batch.var(dim=(0, 2, 3)) for batch in given]).mean(0)
    torch.testing.assert_close(norm[0].running_mean, mean)
    torch.testing.assert_close(norm[0].running_var, variance)


def test_modes_momenta_weights_and_random_state_are_left_alone() -> None:
    model = build_network("unet", "timm-efficientnet-b0", decoder_channels=(16, 8, 8, 8, 8)).train()
    Thaw(model).to(1)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    norms[0].momentum = 0.37
    modes = [m.training for m in model.modules()]
    momenta = [m.momentum for m in norms]
    weights = [p.clone() for p in model.parameters()]
    random_state = torch.get_rng_state()
    calibrate_norms(model, batches(1))
    assert [m.training for m in model.modules()] == modes
    assert [m.momentum for m in norms] == momenta
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), random_state)  # no dropout, no stochastic depth
    assert all(p.grad is None for p in model.parameters())
    model.train()
    assert not norms[0].training  # still frozen


def test_the_modes_come_back_when_a_batch_fails() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    with pytest.raises((RuntimeError, ValueError)):
        calibrate_norms(model, [torch.zeros(1, 4, 2, 2)])
    assert not model[0].training and model[0].momentum == 0.1


def test_no_batch_is_an_error_that_changes_nothing() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    model[0].running_mean.fill_(7.0)
    with pytest.raises(SnowmeltError, match="at least one batch"):
        calibrate_norms(model, [])
    assert (model[0].running_mean == 7.0).all()
