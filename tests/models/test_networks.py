"""Networks by name: the right shape for every architecture and depth, and helpful refusals."""

from __future__ import annotations

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network

PER_LEVEL = ["unet", "unetplusplus", "manet", "linknet", "fpn"]
ARCHITECTURES = [*PER_LEVEL, "pspnet", "deeplabv3", "deeplabv3plus", "pan", "upernet", "segformer"]


@pytest.mark.parametrize("depth", [5, 3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_have_the_size_of_the_image(architecture: str, depth: int) -> None:
    model = build_network(architecture, "tu-mobilenetv2_050", 3, encoder_depth=depth).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 128, 128)).shape == (1, 3, 128, 128)


def test_names_are_taken_as_people_write_them() -> None:
    assert type(build_network("DeepLabV3-Plus", "resnet18")).__name__ == "DeepLabV3Plus"


def test_a_shallower_decoder_keeps_the_widths_of_the_finest_levels() -> None:
    full = build_network("unet", "resnet18").decoder.blocks
    short = build_network("unet", "resnet18", encoder_depth=3).decoder.blocks
    assert [b.conv2[0].out_channels for b in full] == [256, 128, 64, 32, 16]
    assert [b.conv2[0].out_channels for b in short] == [64, 32, 16]
    own = build_network("unet", "resnet18", encoder_depth=3, decoder_channels=(24, 16, 8)).decoder.blocks
    assert [b.conv2[0].out_channels for b in own] == [24, 16, 8]


def test_reference_and_universal_encoders_have_different_keys() -> None:
    published = build_network("unet", "timm-efficientnet-b0").state_dict()
    universal = build_network("unet", "tu-efficientnet_b0").state_dict()
    assert "encoder.blocks.0.0.conv_dw.weight" in published
    assert "encoder.model.blocks.0.0.conv_dw.weight" in universal


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "unett"}, "unknown architecture 'unett'; did you mean 'unet'"),
        ({"architecture": "qqqqqq"}, "unknown architecture 'qqqqqq'$"),
        ({"encoder": "timm-efficientnet-b00"}, "did you mean 'timm-efficientnet-b0'"),
        ({"encoder": "tu-mobilenetv2_10"}, "did you mean 'tu-mobilenetv2_1"),
        ({"out_channels": 0}, "at least one output channel"),
        ({"encoder_depth": 7}, "of depth 7 cannot be built"),
        ({"decoder_channels": (8, 8)}, "cannot be built"),
        ({"decoder_channels": 8}, "5 widths, deepest first"),
        ({"architecture": "upernet", "decoder_channels": (8, 8)}, "one width"),
        ({"architecture": "fpn", "decoder_channels": 8}, "no decoder_channels to set"),
        ({"architecture": "dpt"}, "cannot be built"),
    ],
)
def test_refusals_are_one_line(arguments: dict, message: str) -> None:
    with pytest.raises(SnowmeltError, match=message) as caught:
        build_network(**arguments)
    assert "\n" not in str(caught.value)
