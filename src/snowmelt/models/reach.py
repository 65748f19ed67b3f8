"""Which parameters the forward pass reaches, and at which encoder feature map: read off the autograd graph."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError

_PROBE_SIZE = 128  # pixels: the pyramid of PAN halves its map of stride 16 three times


@dataclass(frozen=True)
class FeatureMap:
    """One output of the encoder: its stride, and the parameters on which no shallower map depends already."""

    stride: int
    parameters: frozenset[str]


@dataclass(frozen=True)
class Reach:
    """What one forward pass used, all by names relative to the model."""

    parameters: frozenset[str]
    """Every parameter on which the output of the whole model depends."""
    features: tuple[FeatureMap, ...]
    """The encoder's feature maps, shallowest first."""
    called: tuple[str, ...]
    """The modules in the order in which they were first called."""


def encoder_of(model: nn.Module) -> nn.Module:
    """``model.encoder``, or a SnowmeltError."""
    encoder = getattr(model, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise SnowmeltError(
            f"{type(model).__name__} has no encoder; a segmentation-models-pytorch model is needed",
            code="network-foreign",
        )
    return encoder


def trace_reach(model: nn.Module) -> Reach:
    """Runs one tiny forward pass in eval mode and walks its graph; the model comes out exactly as it went in.

    ``requires_grad``, train or eval mode of every module, buffers and random state are restored.
    Errors: SnowmeltError for a model without ``encoder``.
    """
    encoder = encoder_of(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    module_names = {id(module): name for name, module in model.named_modules()}
    called: dict[str, None] = {}
    maps: list[tuple[int, Any]] = []  # stride, graph node

    def note_call(module: nn.Module, *_: Any) -> None:
        called.setdefault(module_names[id(module)])

    def note_features(_: nn.Module, inputs: tuple[Tensor, ...], outputs: Any) -> None:
        features = outputs[0] if isinstance(outputs, tuple) else outputs  # ViT encoders add class tokens
        # The node is kept, not the tensor: a decoder that works in place would move the tensor on to its own
        # graph.
        maps.extend((inputs[0].shape[-1] // max(1, f.shape[-1]), f.grad_fn) for f in features if f.grad_fn)

    with undisturbed(model):
        hooks = [module.register_forward_pre_hook(note_call) for module in model.modules()]
        hooks.append(encoder.register_forward_hook(note_features))
        try:
            output = model(probe_input(encoder))
        finally:
            for hook in hooks:
                hook.remove()
        outputs = output if isinstance(output, tuple) else (output,)
        seen: set[Any] = set()
        features = tuple(
            FeatureMap(stride, frozenset(names[id(leaf)] for leaf in _leaves(node, seen) if id(leaf) in names))
            for stride, node in maps
        )
        seen = set()
        reached = {names[id(leaf)] for o in outputs for leaf in _leaves(o.grad_fn, seen) if id(leaf) in names}
    return Reach(frozenset(reached), features, tuple(called))


def _leaves(root: Any, seen: set[Any]) -> Iterator[Tensor]:
    """Leaf tensors below a graph node, leaving out what ``seen`` holds already."""
    pending = [root]
    while pending:
        node = pending.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            yield node.variable
        pending.extend(following for following, _ in node.next_functions)


def probe_input(encoder: nn.Module) -> Tensor:
    """One empty picture of a size that ``encoder`` takes, on its device."""
    size = _PROBE_SIZE
    name = getattr(encoder, "name", None)  # only timm encoders carry one
    if isinstance(name, str) and timm.is_model(name.split(".")[0]):
        config = timm.get_pretrained_cfg(name)
        if config is not None and config.fixed_input_size:
            size = config.input_size[-1]
    weight = next(encoder.parameters())
    channels = getattr(encoder, "_in_channels", 3)
    return torch.zeros(1, channels, size, size, dtype=weight.dtype, device=weight.device)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Eval mode and gradients for everything inside; outside, nothing has happened."""
    modes = [(module, module.training) for module in model.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    device_type = next(model.parameters()).device.type
    with torch.random.fork_rng(devices), torch.enable_grad(), _no_autocast(device_type):
        try:
            for module, _ in modes:
                module.training = False  # the flag, not .eval(): a frozen block overrides its train()
            for parameter, _ in flags:
                if parameter.is_floating_point():
                    parameter.requires_grad_(True)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter, flag in flags:
                parameter.requires_grad_(flag)
            with torch.no_grad():
                for buffer, value in buffers:
                    buffer.copy_(value)


def _no_autocast(device_type: str) -> torch.autocast:
    usable = torch.amp.is_autocast_available(device_type)
    return torch.autocast(device_type if usable else "cpu", enabled=False)
