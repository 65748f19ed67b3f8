"""A state dict tells its architecture, encoder, depth and widths; what it cannot tell is said, not guessed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network, identify_network
from snowmelt.models.encoder_search import build_without_memory

UNET = (256, 128, 64, 32, 16)


def state_of(architecture: str, encoder: str, classes: int = 3, **options: Any) -> dict[str, Tensor]:
    """Keys and shapes are enough, so the tensors have no memory."""
    return build_without_memory(lambda: build_network(architecture, encoder, classes, **options)).state_dict()


@pytest.mark.parametrize(
    "encoder",
    [
        "resnet18",
        "resnet50",
        "mobilenet_v2",
        "efficientnet-b0",
        "timm-efficientnet-b0",
        "timm-efficientnet-b3",
        "mit_b0",
        "vgg11_bn",
        "mobileone_s1",
        "dpn68",
        "tu-mobilenetv2_100",
        "tu-regnety_002",
        "tu-convnext_atto",
    ],
)
def test_the_encoder_comes_back(encoder: str) -> None:
    found = identify_network(state_of("unet", encoder))
    assert (found.architecture, found.encoder, found.depth) == ("unet", encoder, 5)
    assert (found.decoder_channels, found.out_channels, found.alternatives) == (UNET, 3, ())


@pytest.mark.parametrize(("architecture", "channels"), [
    ("unet", UNET), ("unetplusplus", UNET), ("manet", UNET), ("linknet", None), ("fpn", None), ("pspnet", None),
    ("deeplabv3", 256), ("deeplabv3plus", 256), ("pan", 32), ("upernet", 256), ("segformer", None),
])  # fmt: skip
def test_the_architecture_comes_back(architecture: str, channels: object) -> None:
    found = identify_network(state_of(architecture, "resnet18", 1))
    assert (found.architecture, found.encoder, found.depth) == (architecture, "resnet18", 5)
    assert (found.decoder_channels, found.out_channels) == (channels, 1)


@pytest.mark.parametrize(
    ("architecture", "depth", "channels"),
    [
        ("unet", 3, (16, 8, 4)),
        ("unetplusplus", 4, (32, 16, 8, 4)),
        ("manet", 3, (64, 32, 16)),
        ("linknet", 4, None),
        ("fpn", 4, None),
        ("pspnet", 3, None),
        ("pan", 4, 16),
        ("deeplabv3plus", 4, 64),
        ("segformer", 3, None),
        ("upernet", 4, 64),
    ],
)
def test_depth_and_widths_come_back(architecture: str, depth: int, channels: Any) -> None:
    state = state_of(architecture, "tu-mobilenetv2_050", encoder_depth=depth, decoder_channels=channels)
    found = identify_network(state)
    assert (found.architecture, found.encoder, found.depth) == (architecture, "tu-mobilenetv2_050", depth)
    if channels is not None:
        assert found.decoder_channels == channels
    rebuilt = build_without_memory(found.build).state_dict()
    assert {key: value.shape for key, value in rebuilt.items()} == {key: value.shape for key, value in state.items()}


@pytest.mark.parametrize("architecture", ["segformer", "fpn", "pan", "upernet"])
def test_transformers_have_no_map_of_stride_two(architecture: str) -> None:
    found = identify_network(state_of(architecture, "mit_b0"))
    assert (found.architecture, found.encoder, found.depth, found.alternatives) == (architecture, "mit_b0", 5, ())


def test_a_shallow_encoder_whose_deeper_stages_were_cut_off_is_found() -> None:
    found = identify_network(state_of("unet", "tu-resnet18", encoder_depth=3))
    assert (found.encoder, found.depth) == ("tu-resnet18", 3)


def test_what_it_finds_is_written_as_weights_files_write_it() -> None:
    found = identify_network(state_of("unet", "resnet18", encoder_depth=3, decoder_channels=(8, 8, 4)))
    assert found.describe() == {
        "architecture": "unet",
        "encoder": "resnet18",
        "depth": 3,
        "decoder_channels": [8, 8, 4],
        "out_channels": 3,
    }


@pytest.mark.parametrize(
    ("encoder", "first", "others"),
    [
        ("tu-tf_efficientnet_b0", "tu-efficientnet_b0", "tu-tf_efficientnet_b0"),
        ("tu-resnetblur18", "tu-resnet18", "tu-resnetblur18"),
    ],
)
def test_twins_are_named_and_the_first_in_order_is_taken(encoder: str, first: str, others: str) -> None:
    state = state_of("unet", encoder)
    found = identify_network(state)
    assert found.encoder == first
    names = [found.encoder, *found.alternatives]
    assert others in names[1:]
    assert names == sorted(names, key=lambda name: (len(name), name))
    chosen = identify_network(state, {"encoder": encoder})
    assert (chosen.encoder, chosen.alternatives) == (encoder, ())


def test_what_the_caller_knows_is_taken_as_it_is() -> None:
    state = state_of("fpn", "resnet18")
    known = {"architecture": "FPN", "encoder": "resnet18", "depth": 5, "decoder_channels": None}
    assert identify_network(state, known).describe()["architecture"] == "FPN"
    wrong = identify_network(state, {"encoder": "resnet34"})  # loading it will name what does not fit
    assert (wrong.architecture, wrong.encoder) == ("fpn", "resnet34")
    shallow = identify_network(state_of("unet", "resnet18", encoder_depth=4), {"encoder": "resnet18"})
    assert (shallow.depth, shallow.decoder_channels) == (4, (128, 64, 32, 16))
    named = identify_network(state_of("pspnet", "resnet18", encoder_depth=4), {"encoder": "resnet18"})
    assert named.depth == 4


def test_counters_that_older_files_lack_do_not_matter() -> None:
    state = {key: value for key, value in state_of("unet", "resnet18").items() if "num_batches" not in key}
    assert identify_network(state).encoder == "resnet18"


def test_an_encoder_with_another_decoder_is_still_known() -> None:
    state = state_of("unet", "resnet18")
    state["decoder.blocks.0.conv1.0.weight"] = torch.empty(256, 700, 3, 3, device="meta")
    assert identify_network(state).encoder == "resnet18"


def test_a_decoder_may_hold_more_than_is_known() -> None:
    state = state_of("unet", "resnet18") | {"decoder.blocks.0.attention1.weight": torch.empty(3, device="meta")}
    assert identify_network(state).encoder == "resnet18"


def test_an_unknown_encoder_is_refused_with_what_was_seen() -> None:
    state = state_of("unet", "resnet18")
    state["encoder.layer4.1.conv2.weight"] = torch.empty(500, 512, 3, 3, device="meta")
    with pytest.raises(SnowmeltError) as caught:
        identify_network(state)
    message = str(caught.value)
    assert "first convolution conv1.weight (64, 3, 7, 7)" in message
    assert f"{sum('num_batches' not in key for key in state if key.startswith('encoder.'))} keys" in message
    assert "closest: resnet" in message and "teacher.network.encoder=NAME" in message and "\n" not in message


def test_an_encoder_of_four_channels_is_refused() -> None:
    state = state_of("unet", "resnet18")
    state["encoder.conv1.weight"] = torch.empty(64, 4, 7, 7, device="meta")
    with pytest.raises(SnowmeltError, match=r"conv1.weight \(64, 4, 7, 7\)"):
        identify_network(state)


def test_an_unknown_decoder_and_a_missing_head_are_refused() -> None:
    state = {
        key.replace("decoder.blocks", "decoder.rungs"): value for key, value in state_of("unet", "resnet18").items()
    }
    with pytest.raises(SnowmeltError, match=r"no known architecture \(keys such as decoder\.rungs\.0\."):
        identify_network(state)
    headless = {key: value for key, value in state_of("unet", "resnet18").items() if "head" not in key}
    with pytest.raises(SnowmeltError, match=r"no segmentation_head\.0\.weight"):
        identify_network(headless)
