"""A whole network is loaded or refused by the names of its keys, and a refused one is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import build_network, load_strictly

NORM = "decoder.blocks.0.conv1.1"


def network(seed: int = 0, encoder: str = "tu-mobilenetv2_050") -> nn.Module:
    torch.manual_seed(seed)
    return build_network("unet", encoder, decoder_channels=(16, 8, 8, 8, 8))


@pytest.fixture(scope="module")
def source() -> nn.Module:
    return network(seed=1)


@pytest.fixture
def state(source: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in source.state_dict().items()}


def refusal(target: nn.Module, state: dict[str, Tensor]) -> str:
    before = {key: value.clone() for key, value in target.state_dict().items()}
    with pytest.raises(SnowmeltError) as caught:
        load_strictly(target, state)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_of_it_is_loaded(state: dict[str, Tensor]) -> None:
    target = network()
    assert load_strictly(target, state) == []
    assert all(torch.equal(value, state[key]) for key, value in target.state_dict().items())


def test_counters_may_be_missing(state: dict[str, Tensor]) -> None:
    assert load_strictly(network(), {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}) == []


@pytest.mark.parametrize("key", ["weight", "bias", "running_mean", "running_var"])
def test_each_missing_key_is_enough_to_refuse(key: str, state: dict[str, Tensor]) -> None:
    del state[f"{NORM}.{key}"]
    assert refusal(network(), state) == f"1 missing: {NORM}.{key}"


def test_misshapen_missing_and_unexpected_keys_are_all_named(state: dict[str, Tensor]) -> None:
    del state["segmentation_head.0.bias"]
    state["encoder.model.bn1.weight"] = torch.zeros(7)
    state["decoder.blocks.0.attention1.weight"] = torch.zeros(1)
    state["encoder.model.stranger.weight"] = torch.zeros(1)
    message = refusal(network(), state)
    assert "1 missing: segmentation_head.0.bias" in message
    assert "1 of another shape: encoder.model.bn1.weight (7,) for (16,)" in message
    assert "2 unexpected: decoder.blocks.0.attention1.weight, encoder.model.stranger.weight" in message


def test_twenty_keys_are_named_and_the_rest_counted(state: dict[str, Tensor]) -> None:
    keys = [key for key in state if "running_mean" in key][:23]
    message = refusal(network(), {key: value for key, value in state.items() if key not in keys})
    assert message == f"23 missing: {', '.join(keys[:20])} and 3 more"


def test_what_no_output_depends_on_may_be_missing_or_of_another_shape() -> None:
    """timm-efficientnet keeps the last convolution of its classifier."""
    source, target = network(1, "timm-efficientnet-b0"), network(2, "timm-efficientnet-b0")
    idle = ("encoder.conv_head.", "encoder.bn2.")
    state = {key: value for key, value in source.state_dict().items() if not key.startswith(idle)}
    state["encoder.conv_head.weight"] = torch.zeros(3, 320, 1, 1)
    assert load_strictly(target, state) == ["encoder.conv_head.weight"]
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(source.eval()(images), target.eval()(images))


@pytest.mark.parametrize(
    "key", ["encoder.model.classifier.weight", "encoder.fc.bias", "encoder.model.conv_head.weight"]
)
def test_a_classifier_without_use_is_told_and_not_fatal(key: str, state: dict[str, Tensor]) -> None:
    assert load_strictly(network(), {**state, key: torch.zeros(3)}) == [key]


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        ("decoder.blocks.1.conv1.0.weight", float("nan"), "NaN"),
        ("encoder.model.conv_stem.weight", float("inf"), "infinite"),
        (f"{NORM}.running_mean", float("-inf"), "infinite"),
        (f"{NORM}.running_var", float("nan"), "NaN"),
        (f"{NORM}.running_var", -1e-6, "negative variance"),
    ],
)
def test_broken_numbers_are_refused_by_name(key: str, value: float, what: str, state: dict[str, Tensor]) -> None:
    state[key].view(-1)[1] = value
    assert refusal(network(), state) == f"1 broken: {key} ({what})"


def test_a_norm_that_never_saw_a_number_is_refused_and_a_dead_channel_is_not(state: dict[str, Tensor]) -> None:
    state[f"{NORM}.running_var"][1:] = 0
    assert load_strictly(network(), state) == []
    state[f"{NORM}.running_var"].zero_()
    assert refusal(network(), state) == f"1 broken: {NORM}.running_var (all variances zero)"


def test_a_layer_whose_weights_are_one_number_is_refused(state: dict[str, Tensor]) -> None:
    state["decoder.blocks.1.conv1.0.weight"].fill_(0.1)
    assert refusal(network(), state) == "1 broken: decoder.blocks.1.conv1.0.weight (zero variance)"


def test_half_precision_is_converted(state: dict[str, Tensor]) -> None:
    target = network()
    load_strictly(target, {key: value.half() if value.is_floating_point() else value for key, value in state.items()})
    weight = target.segmentation_head[0].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["segmentation_head.0.weight"].half().float())
