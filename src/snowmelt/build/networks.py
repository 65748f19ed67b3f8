"""Networks from settings and from weights files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snowmelt.config import NetworkConfig
from snowmelt.errors import SnowmeltError
from snowmelt.models import (
    Normalisation,
    WeightsReport,
    build_network,
    load_encoder_weights,
    load_weights,
    normalisation_of,
    normalise,
    quicken,
    refuse_demand,
    refuse_flaws,
)


@dataclass(frozen=True)
class BuiltNetwork:
    """A network with what one has to know to use it."""

    network: nn.Module
    normalisation: Normalisation
    weights: WeightsReport
    description: Mapping[str, Any]  # enough to build it again; goes into the weights' metadata


def make_network(settings: NetworkConfig, channels: int, seed: int, with_weights: bool = True) -> BuiltNetwork:
    """Build a network with the encoder weights that its settings name.

    Args:
        with_weights: ``False`` leaves it random, for a plan or because a checkpoint follows.
    """
    torch.manual_seed(seed)
    network = _plain(settings, channels)
    report = load_encoder_weights(network, settings.encoder, settings.weights if with_weights else "none")
    description = {**settings.model_dump(exclude={"weights"}), "out_channels": channels}
    network = quicken(network).to(memory_format=torch.channels_last)
    return BuiltNetwork(network, normalisation_of(settings.encoder), report, description)


def _plain(settings: NetworkConfig, channels: int) -> nn.Module:
    return build_network(
        settings.architecture,
        settings.encoder,
        channels,
        encoder_depth=settings.depth,
        decoder_channels=settings.decoder_channels,
    )


def output_channels(classes: tuple[str, ...]) -> int:
    """One logit for two classes, else one per class."""
    return 1 if len(classes) == 2 else len(classes)


def make_input(normalisation: Normalisation) -> Callable[[Tensor], Tensor]:
    """uint8 images -> what the network takes, in the memory format that convolutions like."""

    def prepare(images: Tensor) -> Tensor:
        return normalise(images, normalisation).contiguous(memory_format=torch.channels_last)

    return prepare


def load_network(path: Path, fallback: NetworkConfig, classes: tuple[str, ...]) -> BuiltNetwork:
    """A trained network from a weights file: as its metadata describes it, else as ``fallback`` does.

    Raises:
        SnowmeltError: the file is no weights file, or its tensors do not fit the network or are broken (by name).
    """
    state, metadata = load_weights(path)
    channels = output_channels(classes)
    known = metadata.get("classes")
    if known is not None and len(classes) > 2 and len(known) == len(classes) and list(classes) != list(known):
        raise SnowmeltError(
            f"{path}: its classes are {', '.join(known)}, but those of the data are {', '.join(classes)}; "
            "give the data's classes the same names in the same order (data.classes)",
            code="network-classes",
        )
    settings, described = fallback, metadata.get("network")
    if isinstance(described, dict):
        try:
            settings = NetworkConfig(**{key: value for key, value in described.items() if key != "out_channels"})
        except SnowmeltError as error:
            raise SnowmeltError(f"{path}: its network: {error}; the file is damaged", code=error.code) from error
        if described.get("out_channels") != channels:
            raise SnowmeltError(
                f"{path}: gives {described.get('out_channels')} channel(s), but this data needs {channels}; "
                "use a network trained on the same classes",
                code="network-classes",
            )
    try:
        refuse_demand(lambda: _plain(settings, channels), state)
        built = make_network(settings, channels, seed=0, with_weights=False)
    except SnowmeltError as error:
        raise SnowmeltError(f"{path}: {error}", code=error.code) from error
    missing = sorted(built.network.state_dict().keys() - state.keys())
    unexpected = sorted(state.keys() - built.network.state_dict().keys())
    shapes = [
        key for key, value in built.network.state_dict().items() if key in state and state[key].shape != value.shape
    ]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if keys
    ]
    if problems:
        raise SnowmeltError(
            f"{path}: does not fit {settings.architecture} with {settings.encoder}: tensors {'; '.join(problems)}; "
            "score a run with the settings that it was trained with",
            code="weights-keys",
        )
    refuse_flaws(built.network, state, str(path))
    built.network.load_state_dict(state)
    return built
