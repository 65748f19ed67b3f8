"""Feature maps inside a network, by name: which there are, and what they were in the last forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.reach import encoder_of, probe_input, undisturbed


@dataclass(frozen=True)
class Feature:
    """A feature map: its channels, and the pixels of the picture along each side of one of its cells."""

    channels: int
    stride: int


def available_features(network: nn.Module, size: int | None = None) -> dict[str, Feature]:
    """Every feature map that can be read, by name, from one forward pass in eval mode that leaves no trace.

    ``encoder.N`` is the N-th map that the encoder hands to the decoder (0 is the picture itself in most smp encoders),
    ``decoder.N`` the output of the N-th of ``decoder.blocks``, in networks whose decoder is such a sequence, and
    ``decoder`` what goes into the head. A map without channels, as some encoders have it at stride 2, is left out.

    Args:
        size: side of the picture of that pass, in pixels; ``None``: one that the network takes.

    Errors: SnowmeltError for a network without encoder.
    """
    encoder = encoder_of(network)
    picture = probe_input(encoder)
    if size is not None:
        picture = picture.new_zeros(1, picture.shape[1], size, size)
    found: dict[str, Tensor] = {}

    def note_all(_: nn.Module, __: Any, output: Any) -> None:
        found.update({f"encoder.{index}": map_ for index, map_ in enumerate(_encoder_maps(output))})

    def note(name: str, _: nn.Module, __: Any, output: Any) -> None:
        found[name] = output

    hooks = [encoder.register_forward_hook(note_all)]
    hooks += [module.register_forward_hook(partial(note, name)) for name, module in _decoder_parts(network).items()]
    with undisturbed(network), torch.no_grad():
        try:
            network(picture)
        finally:
            for hook in hooks:
                hook.remove()
    return {
        name: Feature(map_.shape[1], picture.shape[-1] // map_.shape[-1])
        for name, map_ in sorted(found.items(), key=lambda item: _order(item[0]))
        if isinstance(map_, Tensor) and map_.ndim == 4 and map_.shape[1] > 0
    }


def feature_channels(network: nn.Module, layers: Sequence[str], size: int | None = None) -> dict[str, int]:
    """Channels of each of ``layers``; names and ``size`` as for ``available_features``.

    Errors: SnowmeltError for a layer that this network does not have, with those that it has.
    """
    known = available_features(network, size)
    for layer in layers:
        if layer not in known:
            listed = ", ".join(f"{name} ({f.channels} channels, stride {f.stride})" for name, f in known.items())
            raise SnowmeltError(
                f"the network has no feature layer {layer!r}; choose from {listed}", code="feature-layer"
            )
    return {layer: known[layer].channels for layer in layers}


class FeatureTap:
    """Keeps the feature maps of a network's last forward pass until they are read.

    The hooks sit on the modules of the network itself, so it does not matter what is wrapped around it (a gradient
    synchroniser, ``torch.compile``), whether it trains, or which of its blocks are frozen. Maps that nobody reads are
    held until the next pass.

    Args:
        layers: names as ``available_features`` gives them.

    Errors: SnowmeltError for a layer that this network does not have, with those that it has.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str]) -> None:
        self.layers = tuple(layers)
        self.channels = tuple(feature_channels(network, layers)[layer] for layer in self.layers)
        """Of each layer's map, in their order."""
        self._latest: dict[str, Tensor] = {}
        parts = _decoder_parts(network)
        levels = {layer: int(layer.split(".")[1]) for layer in self.layers if layer not in parts}
        self._hooks = [
            parts[layer].register_forward_hook(partial(self._keep, layer))
            for layer in dict.fromkeys(self.layers)
            if layer in parts
        ]
        if levels:
            self._hooks.append(encoder_of(network).register_forward_hook(partial(self._keep_levels, levels)))

    def read(self) -> tuple[Tensor, ...]:
        """The maps (B, channels, h, w) of the last forward pass, in the order of ``layers``; they are then forgotten.

        Errors: SnowmeltError when there was no forward pass since they were last read.
        """
        if not self._latest:
            raise SnowmeltError(
                "there are no features to read: the network has not run since they were last read",
                code="call-incomplete",
            )
        maps = tuple(self._latest[layer] for layer in self.layers)
        self._latest.clear()
        return maps

    def forget(self) -> None:
        """Let go of what was not read: after a pass that broke off, it would hold that pass's memory."""
        self._latest.clear()

    def close(self) -> None:
        """Take the hooks off the network."""
        for hook in self._hooks:
            hook.remove()
        self._latest.clear()

    def _keep(self, layer: str, _: nn.Module, __: Any, output: Tensor) -> None:
        self._latest[layer] = output

    def _keep_levels(self, levels: dict[str, int], _: nn.Module, __: Any, output: Any) -> None:
        maps = _encoder_maps(output)
        for layer, level in levels.items():
            self._latest[layer] = maps[level]


def _encoder_maps(output: Any) -> Sequence[Tensor]:
    return output[0] if isinstance(output, tuple) else output  # ViT encoders add class tokens


def _decoder_parts(network: nn.Module) -> dict[str, nn.Module]:
    """``decoder`` and ``decoder.N``; UNet++ keeps a grid of blocks by name, in which no block is the N-th."""
    decoder = getattr(network, "decoder", None)
    if not isinstance(decoder, nn.Module):
        return {}
    blocks = getattr(decoder, "blocks", None)
    numbered = list(blocks) if isinstance(blocks, nn.ModuleList) else []
    return {**{f"decoder.{index}": block for index, block in enumerate(numbered)}, "decoder": decoder}


def _order(name: str) -> tuple[bool, float]:
    room, _, number = name.partition(".")
    return room == "decoder", float(number or "inf")
