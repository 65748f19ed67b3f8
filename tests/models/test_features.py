"""Feature maps by name: which there are, that reading them changes nothing, and that they are what the network saw."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import Feature, FeatureTap, Thaw, available_features, build_network, feature_channels

UNET = ("encoder.4", "decoder.1", "decoder")


def network(architecture: str = "unet", encoder: str = "resnet18", seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(architecture, encoder, encoder_depth=4 if architecture == "dpt" else 5)


def picture(size: int = 64, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_what_a_unet_has() -> None:
    assert available_features(network()) == {
        "encoder.0": Feature(3, 1),
        "encoder.1": Feature(64, 2),
        "encoder.2": Feature(64, 4),
        "encoder.3": Feature(128, 8),
        "encoder.4": Feature(256, 16),
        "encoder.5": Feature(512, 32),
        "decoder.0": Feature(256, 16),
        "decoder.1": Feature(128, 8),
        "decoder.2": Feature(64, 4),
        "decoder.3": Feature(32, 2),
        "decoder.4": Feature(16, 1),
        "decoder": Feature(16, 1),
    }


def test_a_map_without_channels_is_none() -> None:
    found = available_features(network(encoder="tu-convnext_atto"))
    assert [name for name in found if name.startswith("encoder.")] == [f"encoder.{n}" for n in (0, 2, 3, 4, 5)]


@pytest.mark.parametrize(("architecture", "decoder"), [("unetplusplus", (16, 1)), ("fpn", (128, 4)), ("pan", (32, 4))])
def test_a_decoder_that_is_no_sequence_of_blocks_has_its_output_alone(
    architecture: str, decoder: tuple[int, int]
) -> None:
    found = available_features(network(architecture), 128)
    assert {name: feature for name, feature in found.items() if "decoder" in name} == {"decoder": Feature(*decoder)}


def test_vision_transformers() -> None:
    assert available_features(network("dpt", "tu-vit_tiny_patch16_224"))["encoder.3"] == Feature(192, 16)


def test_channels_by_layer() -> None:
    assert feature_channels(network(), UNET, 64) == {"encoder.4": 256, "decoder.1": 128, "decoder": 16}


@pytest.mark.parametrize("layer", ["encoder.6", "encoder.-1", "encoder", "decoder.5", "decoder.-1", "head", ""])
def test_an_unknown_layer_is_refused_with_those_that_there_are(layer: str) -> None:
    for ask in (FeatureTap, feature_channels):
        with pytest.raises(SnowmeltError) as caught:
            ask(network(), [layer])
        assert f"no feature layer {layer!r}" in str(caught.value)
        assert "encoder.4 (256 channels, stride 16)" in str(caught.value)
        assert "decoder.1 (128 channels, stride 8)" in str(caught.value)


def test_a_network_without_encoder_is_refused() -> None:
    with pytest.raises(SnowmeltError, match="has no encoder"):
        available_features(nn.Conv2d(3, 1, 1))


def test_looking_leaves_no_trace() -> None:
    model = network()
    Thaw(model).to(1)
    model.train()
    before = copy.deepcopy(model.state_dict())
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    modes = {name: module.training for name, module in model.named_modules()}
    random = torch.get_rng_state()
    available_features(model, 64)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == flags
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_read_is_what_the_network_saw() -> None:
    model = network().eval()
    tap = FeatureTap(model, ("decoder.1", "encoder.4", "decoder"))
    images = picture()
    with torch.no_grad():
        logits = model(images)
        stage, encoded, decoded = tap.read()
        levels = model.encoder(images)
        by_hand = model.decoder.center(levels[-1])
        for block, skip in zip(model.decoder.blocks[:2], (levels[4], levels[3]), strict=True):
            by_hand = block(by_hand, *skip.shape[2:], skip_connection=skip)
        assert torch.equal(stage, by_hand)
        assert torch.equal(encoded, levels[4])
        assert torch.equal(model.segmentation_head(decoded), logits)
    assert tap.channels == (128, 256, 16) == tuple(map_.shape[1] for map_ in (stage, encoded, decoded))


@pytest.mark.parametrize("architecture", ["unet", "unetplusplus", "manet", "linknet", "fpn", "deeplabv3plus", "pan"])
def test_nothing_works_in_place_on_a_map_that_was_taken(architecture: str) -> None:
    model = network(architecture).train()
    tap = FeatureTap(model, list(available_features(model, 128)))
    copies: dict[str, Tensor] = {}
    model.encoder.register_forward_hook(
        lambda _, __, maps: copies.update({f"encoder.{index}": map_.clone() for index, map_ in enumerate(maps)})
    )
    parts = {name: model.get_submodule(name.replace("r.", "r.blocks.")) for name in tap.layers if "decoder" in name}
    for name, module in parts.items():
        module.register_forward_hook(lambda _, __, map_, name=name: copies.update({name: map_.clone()}))
    model(picture(128)).sum().backward()
    assert copies.keys() == set(tap.layers)
    for name, map_ in zip(tap.layers, tap.read(), strict=True):
        assert torch.equal(map_, copies[name]), name


def test_maps_are_read_once_and_in_the_order_asked_for() -> None:
    model = network()
    tap = FeatureTap(model, ("decoder", "encoder.2", "decoder"))
    with pytest.raises(SnowmeltError, match="has not run"):
        tap.read()
    model(picture())
    maps = tap.read()
    assert [map_.shape[1] for map_ in maps] == [16, 64, 16] and maps[0] is maps[2]
    with pytest.raises(SnowmeltError, match="has not run"):
        tap.read()


def test_the_last_forward_pass_is_what_counts() -> None:
    model = network().eval()
    tap = FeatureTap(model, ("encoder.3",))
    with torch.no_grad():
        model(picture(seed=1))
        model(picture(seed=2))
        (last,) = tap.read()
        model(picture(seed=2))
        assert torch.equal(last, tap.read()[0])


def test_gradients_flow_through_what_learns_and_stop_at_what_is_frozen() -> None:
    model = network()
    tap = FeatureTap(model, ("encoder.5", "decoder.0"))
    thaw = Thaw(model)
    thaw.to(0)
    model.train()
    model(picture())
    frozen, learning = tap.read()
    assert not frozen.requires_grad and learning.requires_grad
    thaw.to(len(thaw.blocks))
    model(picture())
    tap.read()[0].sum().backward()
    assert model.encoder.conv1.weight.grad is not None


def test_a_closed_tap_leaves_the_network_as_it_was() -> None:
    model = network()
    tap = FeatureTap(model, UNET)
    tap.close()
    assert not any(module._forward_hooks for module in model.modules())
    model(picture())
    with pytest.raises(SnowmeltError, match="has not run"):
        tap.read()


def test_a_copy_of_the_network_does_not_fill_the_tap_of_the_original() -> None:
    model = network()
    tap = FeatureTap(model, UNET)
    copy.deepcopy(model)(picture())
    with pytest.raises(SnowmeltError, match="has not run"):
        tap.read()
