"""The network among what wrappers and training programs save beside it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models import split_network

PLAIN = ("encoder.conv1.weight", "encoder.model.bn1.weight", "decoder.blocks.0.weight", "segmentation_head.0.weight")


def tensors(prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: torch.full((2,), float(place)) for place, key in enumerate(PLAIN)}


PREFIXES = ("", "model.", "unet.", "student.", "teacher.", "net.", "network.", "module.", "_orig_mod.")
CHAINS = (*PREFIXES, "_forward_module.", "model.module.", "module._orig_mod.", "_forward_module.model._orig_mod.net.")


@pytest.mark.parametrize("prefix", CHAINS)
def test_what_stands_before_the_encoder_is_taken_off(prefix: str) -> None:
    network, others = split_network(tensors(prefix))
    assert tuple(network) == PLAIN
    assert [int(value[0]) for value in network.values()] == [0, 1, 2, 3]
    assert others == {}


@given(st.lists(st.sampled_from(["model", "a", "decoder", "module", "my_encoder", "x1"]), max_size=4))
def test_any_chain_of_names_is_taken_off(names: list[str]) -> None:
    network, others = split_network(tensors("".join(f"{name}." for name in names)))
    assert tuple(network) == PLAIN and others == {}


@pytest.mark.parametrize("prefix", CHAINS)
def test_what_else_the_file_holds_keeps_its_names(prefix: str) -> None:
    beside = ("loss.weight", "metrics.iou.total", f"{prefix}classification_head.3.weight", "ema.decay")
    network, others = split_network({**tensors(prefix), **dict.fromkeys(beside, torch.ones(1))})
    assert tuple(network) == PLAIN
    assert tuple(others) == beside


def test_a_compiled_part_of_a_network_is_no_other_network() -> None:
    network, _ = split_network(
        {key.replace("encoder.", "encoder._orig_mod."): t for key, t in tensors("model.").items()}
    )
    assert tuple(network) == PLAIN


def test_a_lone_encoder_elsewhere_is_no_network() -> None:
    network, others = split_network({**tensors("model."), "perceptual.encoder.conv1.weight": torch.ones(1)})
    assert tuple(network) == PLAIN
    assert tuple(others) == ("perceptual.encoder.conv1.weight",)


def test_two_networks_are_refused_by_name() -> None:
    with pytest.raises(SnowmeltError, match=r"several networks \(under student\., teacher\.\)"):
        split_network({**tensors("teacher."), **tensors("student.")})
    with pytest.raises(SnowmeltError, match=r"several networks \(under no prefix, ema\.\)"):
        split_network({**tensors(), **tensors("ema.")})


def test_no_network_at_all_is_refused_with_what_was_seen() -> None:
    with pytest.raises(SnowmeltError, match=r"among its 2 tensors, such as layer1\.weight, segformer\.encoder\.a"):
        split_network({"layer1.weight": torch.ones(1), "segformer.encoder.a": torch.ones(1)})
