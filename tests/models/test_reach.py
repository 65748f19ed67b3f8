"""Looking at a model leaves no trace in it."""

from __future__ import annotations

import torch

from snowmelt.models import Thaw, build_network, encoder_blocks
from snowmelt.models.reach import trace_reach


def test_the_model_and_the_random_state_come_out_as_they_went_in() -> None:
    model = build_network("unet", "timm-efficientnet-b0", decoder_channels=(16, 8, 8, 8, 8))
    Thaw(model).to(2)
    model.train()
    model.encoder.blocks[6][0].bn1.eval()
    model.decoder.blocks[0].conv1[0].weight.requires_grad_(False)
    before = {
        "flags": {n: p.requires_grad for n, p in model.named_parameters()},
        "modes": {n: m.training for n, m in model.named_modules()},
        "state": {n: t.clone() for n, t in model.state_dict().items()},
        "grads": {n: p.grad for n, p in model.named_parameters()},
        "random": torch.get_rng_state(),
        "hooks": sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()),
    }
    with torch.no_grad():
        trace_reach(model)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == before["flags"]
    assert {n: m.training for n, m in model.named_modules()} == before["modes"]
    assert all(torch.equal(t, before["state"][n]) for n, t in model.state_dict().items())
    assert {n: p.grad for n, p in model.named_parameters()} == before["grads"]
    assert torch.equal(torch.get_rng_state(), before["random"])
    assert sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in model.modules()) == before["hooks"]


def test_what_is_frozen_now_does_not_change_the_blocks() -> None:
    model = build_network("unet", "resnet18")
    names = [set(block.parameters) for block in encoder_blocks(model)]
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert [set(block.parameters) for block in encoder_blocks(model)] == names


def test_features_come_with_their_strides() -> None:
    reach = trace_reach(build_network("unet", "resnet18"))
    assert [feature.stride for feature in reach.features] == [2, 4, 8, 16, 32]
    assert reach.called[0] == "" and reach.called[1] == "encoder"
