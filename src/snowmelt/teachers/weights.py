"""Teachers that are weights: of a Snowmelt run, which describe themselves, or of any network of smp."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.models import (
    IdentifiedNetwork,
    Normalisation,
    fold_norms,
    identify_network,
    load_strictly,
    load_weights,
    normalisation_of,
    quicken,
    refuse_demand,
    split_network,
)
from snowmelt.teachers.kinds import BEST_WEIGHTS
from snowmelt.teachers.network import NetworkTeacher, digest_of_tensors
from snowmelt.teachers.options import OpenOptions

_LARGEST_SIDE = 8192  # of a size that a file states, since pictures are made that large


def open_run(target: str, options: OpenOptions) -> NetworkTeacher:
    """The best weights of a run folder.

    Errors: SnowmeltError for a folder without ``checkpoints/best.safetensors``, and those of ``open_weights``.
    """
    best = Path(target) / BEST_WEIGHTS
    if not best.is_file():
        raise SnowmeltError(
            f"{target}: holds no {BEST_WEIGHTS.as_posix()}; give a run folder or a weights file", code="run-unfinished"
        )
    return open_weights(str(best), options)


def open_weights(target: str, options: OpenOptions) -> NetworkTeacher:
    """The network of a weights file, .safetensors or PyTorch's, on the options' device.

    Snowmelt's own files say what they hold. Of others, ``options.network`` names what it names, and the rest is read
    off the tensors. Its ``digest`` is that of the tensors in use, the network and the normalisation, so that a copy
    under another name or in another format is the same teacher. It sees pictures in the size that it was trained at,
    where the file tells, unless ``options.size`` asks for another.

    Errors: SnowmeltError for a file that is no weights file, holds no network of smp, or lacks a part of it; every
    key that does not fit is named.
    """
    path = Path(target)
    tensors, metadata = load_weights(path)
    described = metadata.get("network")
    try:
        state, others = split_network(tensors)
        found = _as_described(described) if described is not None else identify_network(state, options.network)
        refuse_demand(found.build, state)
        with torch.random.fork_rng(devices=[]):  # the first weights are drawn for nothing
            network = found.build()
    except SnowmeltError as error:
        raise SnowmeltError(f"{path}: {error}", code=error.code) from error
    try:
        unused = [*load_strictly(network, state), *others]
    except SnowmeltError as error:
        raise SnowmeltError(
            f"{path}: its tensors do not fit {_name_of(found)}: {error}; use a complete file, or name the network that "
            "it holds with teacher.network.architecture and teacher.network.encoder",
            code="weights-keys",
        ) from error
    _say_what_was_found(path, found, described, unused, options)
    normalisation = options.normalisation or _normalisation_in(metadata, path) or normalisation_of(found.encoder)
    used = {key: value for key, value in state.items() if key not in set(unused)}
    quick = fold_norms(quicken(network))  # a teacher only answers
    return NetworkTeacher(
        quick.to(memory_format=torch.channels_last).to(options.device),
        normalisation,
        options.autocast,
        f"{_name_of(found)} ({path})",
        _digest_of(found, normalisation, used),
        _classes_in(metadata, found.out_channels),
        _fixed_size(found.encoder) or _own_size(metadata, options),
        folded=_numbers_in(network) - _numbers_in(quick),
    )


def _numbers_in(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _as_described(description: Any) -> IdentifiedNetwork:
    try:
        channels = description["decoder_channels"]
        return IdentifiedNetwork(
            str(description["architecture"]),
            str(description["encoder"]),
            int(description["depth"]),
            tuple(channels) if isinstance(channels, list) else channels,
            int(description["out_channels"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SnowmeltError(
            f"its metadata does not describe a network ({error!r}); the file is damaged", code="weights-unreadable"
        ) from error


def _say_what_was_found(
    path: Path, found: IdentifiedNetwork, described: object, unused: list[str], options: OpenOptions
) -> None:
    given = {key: value for key, value in (options.network or {}).items() if value is not None}
    given = {key: list(value) if isinstance(value, tuple) else value for key, value in given.items()}
    if described is not None:
        actual = found.describe()
        ignored = [key for key, value in given.items() if key in actual and actual[key] != value]
        if ignored:
            names = ", ".join(f"teacher.network.{key}={given[key]}" for key in ignored)
            options.say(f"teacher: {path} says itself that it holds {_name_of(found)}; {names} is not used")
    elif found.alternatives:
        others = ", ".join(found.alternatives)
        options.say(
            f"teacher: the tensors of {path} fit {found.encoder} and also {others}, which compute otherwise (padding, "
            f"pooling); {found.encoder} is taken; to choose: teacher.network.encoder={found.alternatives[0]}"
        )
    else:
        options.say(
            f"teacher: {path} holds {_name_of(found)}, depth {found.depth}, by its tensors; "
            "what tensors do not tell, such as the output stride, is taken to be smp's default"
        )
    if unused:
        more = f" and {len(unused) - 20} more" if len(unused) > 20 else ""
        options.say(f"teacher: {path}: tensors without use: {len(unused)} ({', '.join(unused[:20])}{more})")


def _name_of(found: IdentifiedNetwork) -> str:
    return f"{found.architecture} with {found.encoder}"


def _digest_of(found: IdentifiedNetwork, normalisation: Normalisation, state: Mapping[str, Tensor]) -> str:
    return digest_of_tensors(state, json.dumps(found.describe(), sort_keys=True) + repr(normalisation))


def _normalisation_in(metadata: Mapping[str, Any], path: Path) -> Normalisation | None:
    if "mean" not in metadata or "std" not in metadata:
        return None
    try:
        mean, std = ([float(value) for value in metadata[key]] for key in ("mean", "std"))
        return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
    except (TypeError, ValueError, IndexError) as error:
        raise SnowmeltError(
            f"{path}: mean and std in its metadata are not three numbers each", code="weights-unreadable"
        ) from error


def _classes_in(metadata: Mapping[str, Any], channels: int) -> tuple[str, ...] | None:
    known = metadata.get("classes")
    names = tuple(str(name) for name in known) if isinstance(known, list) else ()
    return names if len(names) == (2 if channels == 1 else channels) else None


def _own_size(metadata: Mapping[str, Any], options: OpenOptions) -> tuple[int, int] | None:
    """The size that the user wants, else the one that it was trained at: asked at half of it, it answers much worse."""
    recorded = metadata.get("image_size")
    believed = recorded if isinstance(recorded, int) and 0 < recorded <= _LARGEST_SIDE else None
    side = options.size if options.size is not None else believed
    return None if side is None else (side, side)


def _fixed_size(encoder: str) -> tuple[int, int] | None:
    """The size that some transformers of timm demand."""
    name = encoder.removeprefix("tu-")
    if name == encoder or not timm.is_model(name.split(".")[0]):
        return None
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size:
        return None
    return config.input_size[-2], config.input_size[-1]
