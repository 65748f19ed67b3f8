"""Batch norms folded into the convolutions before them, for networks that only answer."""

from __future__ import annotations

import copy
from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from snowmelt.models.reach import encoder_of, probe_input

# Largest deviation of the folded network's answers to noise, as a share of their spread. Folding in float32 changes
# them by some 1e-5; a norm folded into the wrong convolution by about 1.
TOLERANCE = 1e-3


def fold_norms(network: nn.Module) -> nn.Module:
    """A copy in eval mode whose batch norms are part of the convolutions that feed them.

    Which convolution feeds which norm is seen in a forward pass of noise, and the copy's answer to the noise is
    compared with the network's; where they differ, a plain copy is returned. Modules keep their names; a folded norm
    is replaced by its activation, or by nothing. The network itself, a float32 one of smp, is left alone.
    """
    folded = copy.deepcopy(network).eval()
    picture = probe_input(encoder_of(network))
    example = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0)).to(picture)
    with torch.no_grad():
        expected = folded(example)
        pairs = _pairs(folded, example)
        if not pairs:
            return folded
        for convolution, norm in pairs:
            _fold(folded, convolution, norm)
        found = folded(example)
    if _deviation(found, expected) <= TOLERANCE:
        return folded
    return copy.deepcopy(network).eval()


def _pairs(network: nn.Module, example: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions and norms of which the latter eats exactly what the former gives, both called once."""
    made: dict[int, tuple[str, Tensor]] = {}  # keeps the outputs alive, so that no identity is given out twice
    calls: Counter[str] = Counter()
    pairs: list[tuple[str, str]] = []

    def watch(name: str, module: nn.Module) -> list[torch.utils.hooks.RemovableHandle]:
        def convolved(_: nn.Module, __: object, output: Tensor) -> None:
            made[id(output)] = (name, output)
            calls[name] += 1

        def norming(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            calls[name] += 1
            if id(inputs[0]) in made:
                pairs.append((made[id(inputs[0])][0], name))

        if isinstance(module, nn.Conv2d):
            return [module.register_forward_hook(convolved)]
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats and module.running_mean is not None:
            return [module.register_forward_pre_hook(norming)]
        return []

    handles = [handle for name, module in network.named_modules() for handle in watch(name, module)]
    try:
        network(example)
    finally:
        for handle in handles:
            handle.remove()
    once = [pair for pair in pairs if calls[pair[0]] == calls[pair[1]] == 1]
    fed = Counter(convolution for convolution, _ in once)
    return [pair for pair in once if fed[pair[0]] == 1]


def _fold(network: nn.Module, convolution: str, norm: str) -> None:
    """Replace both, in place. timm's norms carry their activation with them."""
    first, second = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
    _put(network, convolution, fuse_conv_bn_eval(first, second))
    activation = getattr(second, "act", None)
    _put(network, norm, activation if isinstance(activation, nn.Module) else nn.Identity())


def _put(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, module)


def _deviation(found: Tensor, expected: Tensor) -> float:
    spread = expected.float().std().clamp(min=1e-12)
    return float((found.float() - expected.float()).abs().max() / spread)
