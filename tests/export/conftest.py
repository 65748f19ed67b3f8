"""One small network and its export for the room. Look, do not touch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from snowmelt.export import Facts, OnnxExport, make_onnx, stride_of
from snowmelt.models import build_network

SIDE = 64


@pytest.fixture(scope="session")
def network() -> nn.Module:
    """A UNet with swish and squeeze-and-excite, whose batch norms do something."""
    torch.manual_seed(0)
    made = build_network("unet", "tu-test_efficientnet", 3, decoder_channels=(16, 8, 8, 8, 8)).eval()
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return made


@pytest.fixture(scope="session")
def facts(network: nn.Module) -> Facts:
    return Facts(
        classes=("background", "skin", "hair"),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        normalised_inside=False,
        image_size=SIDE,
        stride=stride_of(network),
        source_run="a run",
        snowmelt_version="0.1.0",
        network={"architecture": "unet", "encoder": "tu-test_efficientnet", "out_channels": 3},
    )


@pytest.fixture(scope="session")
def free(network: nn.Module, facts: Facts) -> OnnxExport:
    """Any batch and size; takes normalised pictures."""
    return make_onnx(network, facts, pytest.fail)


@pytest.fixture(scope="session")
def fixed(network: nn.Module, facts: Facts) -> OnnxExport:
    """One size; takes pixels."""
    return make_onnx(network, replace(facts, normalised_inside=True, size=(SIDE, 96)), pytest.fail)
