"""Folded batch norms: fewer modules, the same answers, the network itself untouched."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snowmelt.models import available_features, build_network, fold_norms, quicken
from snowmelt.models import folding as folding_module


def settled(architecture: str, encoder: str) -> nn.Module:
    """A random network whose norms have something to say."""
    torch.manual_seed(3)
    network = build_network(architecture, encoder, 2)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.bias, 0, 0.2, generator=generator)
    return network.eval()


def norms_of(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def pictures() -> Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize(
    ("architecture", "encoder", "left"),
    [
        ("unet", "timm-efficientnet-b0", 1),  # one behind the features, which nothing calls
        ("unet", "tu-tf_efficientnet_b0", 0),
        ("fpn", "resnet18", 0),
        ("unet", "densenet121", 62),  # norms of its dense layers eat concatenations, which no convolution made
        ("deeplabv3plus", "tu-mobilenetv3_small_050", 0),
        ("unet", "tu-convnext_atto", 0),
    ],
)
def test_folded_network_answers_as_before(architecture: str, encoder: str, left: int) -> None:
    network = quicken(settled(architecture, encoder))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_norms(network)
    with torch.no_grad():
        expected, found = network(pictures()), folded(pictures())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3 * float(expected.std()))
    assert norms_of(folded) == left, norms_of(folded)
    assert norms_of(network) > left
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert available_features(folded).keys() == available_features(network).keys()


def test_half_precision_is_no_worse_than_before() -> None:
    network = quicken(settled("unet", "timm-efficientnet-b0"))
    folded = fold_norms(network)
    with torch.no_grad():
        exact = network(pictures())
        with torch.autocast("cpu", torch.bfloat16):
            usual, quick = network(pictures()), folded(pictures())
    assert (quick - exact).norm() < 1.2 * (usual - exact).norm()


class Shared(nn.Module):
    """A convolution whose output two eat, and a norm that is called twice: neither can be folded, but the clean one."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Identity()
        self.first, self.second = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.clean, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.one, self.other, self.both = nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        once = self.first(x)
        folds = self.norm(self.clean(x))
        return folds + self.one(once) + self.other(once) + self.both(self.second(x)) + self.both(self.second(-x))


class Bypassed(Shared):
    """The convolution's output is used beside the norm, which no hook can see: only the answers tell."""

    def forward(self, x: Tensor) -> Tensor:
        once = self.first(x)
        return self.one(once) + once


@pytest.mark.parametrize(("kind", "left"), [(Shared, 3), (Bypassed, 4)])
def test_what_cannot_be_folded_stays(kind: type[Shared], left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = kind().eval()
    for norm in (network.one, network.other, network.both, network.norm):
        nn.init.uniform_(norm.weight, 2, 3)
    monkeypatch.setattr(folding_module, "encoder_of", lambda _: network.first)
    monkeypatch.setattr(folding_module, "probe_input", lambda _: torch.zeros(1, 3, 8, 8))
    folded = fold_norms(network)
    assert norms_of(folded) == left
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(folded(x), network(x))
