"""Quicker arithmetic: the same parameters and values, gradients at least as exact, and only where it pays."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from timm.layers import Conv2dSame
from timm.layers.activations import Swish
from torch import Tensor, nn
from torch.nn import functional as F

from snowmelt.models import Thaw, build_network, quicken
from snowmelt.models.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, pays


@contextmanager
def bfloat16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def gradients(network: nn.Module, x: Tensor, half: bool) -> list[Tensor]:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        output = network(x)
    (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]


def error(found: list[Tensor], exact: list[Tensor]) -> float:
    return float(sum((a - b).square().sum() for a, b in zip(found, exact, strict=True)).sqrt())


@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "tu-tf_efficientnet_b0", "tu-mobilenetv2_100"])
def test_network_learns_as_before(encoder: str) -> None:
    # In bfloat16 one network's error is 0.89 to 1.04 of the other's, by the draw and by the processor; not on average.
    ratios = []
    for seed in range(2):
        torch.manual_seed(seed)
        plain = build_network("unet", encoder, 1).eval()
        quick = quicken(copy.deepcopy(plain))
        ratios.append(compare(plain, quick, torch.randn(2, 3, 64, 64)))
    assert sum(ratios) / len(ratios) <= 1.02


def compare(plain: nn.Module, quick: nn.Module, x: Tensor) -> float:
    """Error of the quick network's bfloat16 gradients as a share of the plain one's; all else has to be the same."""
    assert list(quick.state_dict()) == list(plain.state_dict())
    changed = [module for module in quick.modules() if isinstance(module, DepthwiseConv2d | DepthwiseConv2dSame)]
    assert len(changed) >= 4 and not any(isinstance(module, Swish) for module in quick.modules())
    with torch.no_grad():
        torch.testing.assert_close(quick(x), plain(x), rtol=1e-4, atol=1e-6)
    exact = gradients(plain, x, half=False)
    torch.testing.assert_close(gradients(quick, x, half=False), exact, rtol=1e-3, atol=1e-4 * float(exact[0].std()))
    return error(gradients(quick, x, half=True), exact) / error(gradients(plain, x, half=True), exact)


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "bias"), [(5, 1, False), (3, 2, True), (7, 2, False)])
def test_one_convolution(same: bool, kernel: int, stride: int, bias: bool) -> None:
    torch.manual_seed(1)
    options = {"stride": stride, "groups": 6, "bias": bias}
    plain = Conv2dSame(6, 12, kernel, **options) if same else nn.Conv2d(6, 12, kernel, padding=kernel // 2, **options)
    plain = plain.to(memory_format=torch.channels_last)
    quick = quicken(copy.deepcopy(plain))
    assert type(quick) is (DepthwiseConv2dSame if same else DepthwiseConv2d)
    x = torch.randn(2, 6, 17, 16)
    left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    with bfloat16():
        before, after = plain(left), quick(right)
    assert torch.equal(before, after) and after.dtype == torch.bfloat16
    weights = torch.randn_like(before)
    before.backward(weights)
    after.backward(weights)
    # The exact gradient for the rounded numbers that the forward pass saw.
    rounded = copy.deepcopy(plain).double()
    rounded.weight.data = plain.weight.bfloat16().double()
    seen = x.bfloat16().double().requires_grad_()
    rounded(seen).backward(weights.double())
    assert left.grad is not None and right.grad is not None and seen.grad is not None
    torch.testing.assert_close(right.grad.double(), seen.grad, rtol=2**-7, atol=1e-2)
    pairs = zip(quick.parameters(), rounded.parameters(), plain.parameters(), strict=True)
    for found, exact, usual in pairs:
        assert found.grad is not None and exact.grad is not None and usual.grad is not None
        assert (found.grad - exact.grad).norm() <= (usual.grad - exact.grad).norm() + 1e-5 * exact.grad.norm()
        assert found.grad.dtype == torch.float32 and found.grad.stride() == found.stride()


def test_gradient_goes_through_the_rounded_weight_closely() -> None:
    convolution = quicken(nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False))
    x = torch.randn(1, 4, 8, 8).bfloat16().requires_grad_()
    with bfloat16():
        convolution(x).sum().backward()
    expected = torch.autograd.grad(F.conv2d(y := x.detach().double().requires_grad_(), convolution.weight.double(),
                                            padding=2, groups=4).sum(), y)[0]  # fmt: skip
    assert x.grad is not None
    torch.testing.assert_close(x.grad.double(), expected, rtol=2**-7, atol=2**-7)


def test_only_what_pays_is_changed() -> None:
    assert pays(nn.Conv2d(8, 8, 5, groups=8)) and pays(nn.Conv2d(8, 8, 3, stride=2, groups=8))
    assert not pays(nn.Conv2d(8, 8, 3, groups=8))
    assert not pays(nn.Conv2d(8, 8, 5, groups=4))
    assert not pays(nn.Conv2d(1, 8, 5))
    assert not pays(nn.Conv2d(8, 8, 5, groups=8, padding=2, padding_mode="reflect"))
    assert not pays(nn.Conv2d(8, 8, 5, groups=8, padding="same"))


def test_frozen_and_full_precision_take_the_usual_way() -> None:
    convolution = quicken(nn.Conv2d(4, 4, 5, groups=4).requires_grad_(False))
    with bfloat16():
        assert convolution(torch.randn(1, 4, 8, 8)).grad_fn is None
    full = quicken(nn.Conv2d(4, 4, 5, groups=4))(torch.randn(1, 4, 8, 8))
    assert full.dtype == torch.float32 and "Convolution" in type(full.grad_fn).__name__


def test_thawing_and_copies_and_compiling_know_it() -> None:
    network = quicken(build_network("unet", "tu-mobilenetv2_100", 1))
    thaw = Thaw(copy.deepcopy(network))
    thaw.to(0)
    assert thaw.trainable_count() < sum(parameter.numel() for parameter in network.parameters())
    convolution = quicken(nn.Conv2d(4, 4, 5, groups=4))
    torch.compiler.reset()
    compiled = torch.compile(convolution, backend="aot_eager")
    x = torch.randn(1, 4, 8, 8)
    with bfloat16():
        expected = torch.autograd.grad(convolution(x).sum(), convolution.weight)[0]
        found = torch.autograd.grad(compiled(x).sum(), convolution.weight)[0]
    torch.testing.assert_close(found, expected)
