"""Blocks per family, every reached parameter in exactly one of them, at two depths."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network, encoder_blocks, unreached_parameters
from snowmelt.models.partition import _check_cover

SEVEN = [f"blocks.{i}" for i in range(6, -1, -1)]
STRIDES = ["stride32", "stride16", "stride8", "stride4", "stride2"]


def numbered(prefix: str, first: int, last: int) -> list[str]:
    return [f"{prefix}{i}" for i in range(last, first - 1, -1)]


FAMILIES = [  # encoder, blocks at depth 5, blocks at depth 3
    ("timm-efficientnet-b0", SEVEN, SEVEN[-3:]),
    ("efficientnet-b0", SEVEN, SEVEN[-3:]),
    ("tu-efficientnet_b0", SEVEN, SEVEN[-3:]),
    ("tu-mobilenetv2_050", SEVEN, SEVEN[-3:]),
    ("mobilenet_v2", SEVEN, SEVEN[-3:]),
    ("timm-mobilenetv3_large_100", SEVEN, SEVEN[-3:]),
    ("tu-mobilenetv3_small_050", SEVEN[1:], SEVEN[-2:]),  # an architecture of six stages
    ("resnet18", numbered("layer", 1, 4), ["layer2", "layer1"]),
    ("tu-resnet18", numbered("layer", 1, 4), ["layer2", "layer1"]),
    ("se_resnet50", numbered("layer", 1, 4), ["layer2", "layer1"]),
    ("timm-skresnet18", numbered("layer", 1, 4), ["layer2", "layer1"]),
    ("timm-regnetx_002", numbered("s", 1, 4), ["s2", "s1"]),
    ("tu-regnety_002", numbered("s", 1, 4), ["s2", "s1"]),
    ("tu-convnext_atto", numbered("stages.", 0, 3), ["stages.1", "stages.0"]),
    ("mit_b0", numbered("block", 1, 4), ["block2", "block1"]),
    ("densenet121", STRIDES, STRIDES[2:]),
    ("dpn68", STRIDES, STRIDES[2:]),
    ("mobileone_s0", STRIDES, STRIDES[2:]),
    ("tu-mobilenetv4_conv_small", STRIDES, STRIDES[2:]),
    ("tu-ghostnet_100", STRIDES, STRIDES[2:]),
    ("vgg11", ["stride16", "stride8", "stride4", "stride2", "stride1"], ["stride8", "stride4", "stride2", "stride1"]),
]


def gradients(model: nn.Module) -> set[str]:
    """Names of encoder parameters to which a loss on the output sends a gradient: a second implementation."""
    model.zero_grad()
    model.eval()(torch.rand(1, 3, 64, 64)).square().sum().backward()
    return {n for n, p in model.named_parameters() if p.grad is not None and n.startswith("encoder.")}


@pytest.mark.parametrize("depth", [5, 3])
@pytest.mark.parametrize(("encoder", "deep", "shallow"), FAMILIES, ids=[family[0] for family in FAMILIES])
def test_families(encoder: str, deep: list[str], shallow: list[str], depth: int) -> None:
    model = build_network("unet", encoder, encoder_depth=depth)
    blocks = encoder_blocks(model)
    assert [block.name for block in blocks] == (deep if depth == 5 else shallow)

    parameters = dict(model.named_parameters())
    listed = [name for block in blocks for name in block.parameters]
    assert len(listed) == len(set(listed))
    assert set(listed) == gradients(model)
    assert all(block.parameters for block in blocks)
    assert all(parameters[name] is p for block in blocks for name, p in block.parameters.items())

    unreached = unreached_parameters(model)
    encoder_parameters = {name for name in parameters if name.startswith("encoder.")}
    assert set(listed) | {n for n in unreached if n.startswith("encoder.")} == encoder_parameters

    modules = [name for block in blocks for name in block.modules]
    assert len(modules) == len(set(modules))
    stateful = {n.rpartition(".")[0] for n in listed} - {""}
    assert stateful <= set(modules) | {"encoder", "encoder.model"}

    # The stem, wherever it hides, is in the shallowest block.
    first = next(name for name in parameters if name in set(listed))
    assert first in blocks[-1].parameters


@pytest.mark.parametrize(
    ("encoder", "pattern", "layers"),
    [
        ("mobilenet_v2", r"features\.(\d+)", [2, 2, 3, 4, 3, 3, 2]),  # stem and last convolution included
        ("efficientnet-b0", r"_blocks\.(\d+)", [1, 2, 2, 3, 3, 4, 1]),
        ("efficientnet-b3", r"_blocks\.(\d+)", [2, 3, 3, 5, 5, 6, 2]),
    ],
)
def test_layers_numbered_through_are_grouped_into_stages(encoder: str, pattern: str, layers: list[int]) -> None:
    """The repetitions of the papers' tables."""
    blocks = encoder_blocks(build_network("unet", encoder))
    found = [{m[1] for n in block.parameters if (m := re.search(pattern, n))} for block in reversed(blocks)]
    assert [len(numbers) for numbers in found] == layers


def test_deeper_blocks_depend_on_shallower_ones_and_not_the_other_way_round() -> None:
    for encoder in ("timm-efficientnet-b0", "mit_b0", "densenet121"):
        model = build_network("unet", encoder)
        blocks = encoder_blocks(model)
        features = model.encoder.eval()(torch.rand(1, 3, 64, 64))
        deepest = list(blocks[0].parameters.values())
        for feature in features[:-1]:
            if feature.requires_grad:
                found = torch.autograd.grad(feature.sum(), deepest, allow_unused=True, retain_graph=True)
                assert all(gradient is None for gradient in found)


@pytest.mark.parametrize("encoder", ["timm-efficientnet-b0", "tu-mobilenetv2_050", "tu-convnext_atto", "mit_b0"])
def test_dropout_and_stochastic_depth_belong_to_a_block(encoder: str) -> None:
    model = build_network("unet", encoder)
    owned = {name for block in encoder_blocks(model) for name in block.modules}
    pattern = re.compile("drop|norm|bn", re.IGNORECASE)
    noisy = [n for n, m in model.encoder.named_modules(prefix="encoder") if pattern.search(type(m).__name__)]
    assert noisy
    assert [n for n in noisy if n not in owned and not n.startswith(("encoder.bn2", "encoder.conv_head"))] == []


def test_layers_without_parameters_follow_what_runs_before_them() -> None:
    model = build_network("unet", "resnet18")
    owner = {name: block.name for block in encoder_blocks(model) for name in block.modules}
    assert owner["encoder.maxpool"] == "layer1"  # part of the stem, between bn1 and layer1


def test_classifier_of_the_reference_encoder_is_unreached() -> None:
    names = set(unreached_parameters(build_network("unet", "timm-efficientnet-b0")))
    assert names == {"encoder.conv_head.weight", "encoder.bn2.weight", "encoder.bn2.bias"}


def test_shallow_encoders_leave_the_deep_layers_unreached() -> None:
    names = set(unreached_parameters(build_network("unet", "mobilenet_v2", encoder_depth=3)))
    layers = {int(re.match(r"encoder\.features\.(\d+)", name)[1]) for name in names}
    assert layers == set(range(7, 19))


@pytest.mark.parametrize("architecture", ["fpn", "deeplabv3plus", "pan", "upernet", "linknet", "pspnet", "segformer"])
def test_other_decoders(architecture: str) -> None:
    blocks = encoder_blocks(build_network(architecture, "resnet18"))
    assert [block.name for block in blocks] == numbered("layer", 1, 4)


def test_vision_transformers_are_cut_by_level() -> None:
    model = build_network("dpt", "tu-vit_tiny_patch16_224", encoder_depth=4)
    assert [block.name for block in encoder_blocks(model)] == ["level3", "level2", "level1", "level0"]


def test_encoders_of_a_fixed_input_size() -> None:
    blocks = encoder_blocks(build_network("unet", "tu-swin_tiny_patch4_window7_224"))
    assert [block.name for block in blocks] == STRIDES[:4]


def test_an_encoder_of_nothing_but_a_stem() -> None:
    blocks = encoder_blocks(build_network("unet", "timm-efficientnet-b0", encoder_depth=1))
    assert [block.name for block in blocks] == ["stem"]
    assert "encoder.conv_stem.weight" in blocks[0].parameters


def test_a_parameter_left_over_or_listed_twice_is_an_error() -> None:
    with pytest.raises(SnowmeltError, match=r"in no block \['b'\], in two none"):
        _check_cover({"one": ["a"]}, ["a", "b"])
    with pytest.raises(SnowmeltError, match=r"in no block none, in two \['a'\]"):
        _check_cover({"one": ["a", "b"], "two": ["a"]}, ["a", "b"])
    with pytest.raises(SnowmeltError, match=r"not of the encoder \['c'\]"):
        _check_cover({"one": ["a", "c"]}, ["a"])


def test_a_model_without_encoder() -> None:
    with pytest.raises(SnowmeltError, match="Linear has no encoder"):
        encoder_blocks(nn.Linear(2, 2))
