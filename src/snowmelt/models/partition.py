"""Every reached encoder parameter in exactly one block, and every encoder module in at most one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from snowmelt.errors import SnowmeltError
from snowmelt.models.families import FAMILIES
from snowmelt.models.reach import FeatureMap, Reach, encoder_of, trace_reach

_IDLE = ""  # stands for "unreached" where a block's name is expected


@dataclass(frozen=True)
class EncoderBlock:
    """A part of an encoder that thaws as one; names are relative to the whole model."""

    name: str
    parameters: Mapping[str, nn.Parameter]
    modules: Mapping[str, nn.Module]
    """Everything that train mode could wake in the block, dropout and stochastic depth included."""


@dataclass(frozen=True)
class Partition:
    """A model taken apart. What is neither in a block nor idle is decoder and head."""

    blocks: tuple[EncoderBlock, ...]
    """Deepest first."""
    idle_parameters: Mapping[str, nn.Parameter]
    """On which the output of the model does not depend."""
    idle_modules: Mapping[str, nn.Module]
    """Modules whose parameters are all idle. Some do run (smp's MobileNetV2 computes one level more than asked), so
    their statistics would move in train mode."""


def partition(model: nn.Module) -> Partition:
    """Cuts the encoder of ``model`` into blocks by its family, or by its feature maps.

    Errors: SnowmeltError for a model without encoder, and for a reached parameter that is in no block or in two.
    """
    reach = trace_reach(model)
    parameters = dict(model.named_parameters())
    encoder_names = [n for n in parameters if n.startswith("encoder.") and n in reach.parameters]
    cut = _cut_by_family(model, encoder_names) or _cut_by_feature_map(reach)
    _check_cover(cut, encoder_names)
    idle = {name: parameter for name, parameter in parameters.items() if name not in reach.parameters}
    owner = dict.fromkeys(idle, _IDLE) | {name: block for block, names in cut.items() for name in names}
    modules = _assign_modules(model, owner, reach)
    blocks = tuple(
        EncoderBlock(
            block,
            {name: parameters[name] for name in names},
            {name: module for name, (module, of) in modules.items() if of == block},
        )
        for block, names in cut.items()
    )
    idle_modules = {name: module for name, (module, of) in modules.items() if of == _IDLE}
    return Partition(blocks, idle, idle_modules)


def _cut_by_family(model: nn.Module, names: list[str]) -> dict[str, list[str]] | None:
    encoder = encoder_of(model)
    bare = [name.removeprefix("encoder.") for name in names]
    for family in FAMILIES:
        cut = family.cut(encoder, bare)
        if cut:
            return {block: [f"encoder.{name}" for name in members] for block, members in cut.items()}
    return None


def _cut_by_feature_map(reach: Reach) -> dict[str, list[str]]:
    """One block per feature map that brings parameters of its own, named by stride where strides differ."""
    members: list[tuple[FeatureMap, list[str]]] = []
    for feature in reach.features:
        names = sorted(feature.parameters & reach.parameters)
        if names:
            members.append((feature, names))
    strides = [feature.stride for feature, _ in members]
    distinct = len(set(strides)) == len(strides)
    labels = [f"stride{s}" for s in strides] if distinct else [f"level{i}" for i in range(len(strides))]
    return {label: names for label, (_, names) in reversed(list(zip(labels, members, strict=True)))}


def _check_cover(cut: Mapping[str, list[str]], expected: list[str]) -> None:
    found = [name for names in cut.values() for name in names]
    left_over = sorted(set(expected) - set(found))
    twice = sorted({name for name in found if found.count(name) > 1}) if len(found) != len(set(found)) else []
    if left_over or twice or len(found) != len(expected):
        raise SnowmeltError(
            "the encoder cannot be cut into blocks: "
            f"in no block {left_over or 'none'}, in two {twice or 'none'}, "
            f"not of the encoder {sorted(set(found) - set(expected)) or 'none'}",
            code="encoder-blocks",
        )


def _assign_modules(
    model: nn.Module, owner: Mapping[str, str], reach: Reach
) -> dict[str, tuple[nn.Module, str | None]]:
    """Module name -> (module, block name, or idle, or None where it spans blocks or is not the encoder's)."""
    modules = dict(model.named_modules())
    assigned: dict[str, str | None] = {}
    floating: list[str] = []
    for name, module in modules.items():  # parents come before their children
        parent = assigned.get(name.rpartition(".")[0]) if name else None
        in_encoder = name == "encoder" or name.startswith("encoder.")
        prefix = f"{name}." if name else ""
        below = [f"{prefix}{parameter}" for parameter, _ in module.named_parameters()]
        owners = {owner.get(parameter) for parameter in below}
        own = {owner.get(f"{prefix}{parameter}") for parameter, _ in module.named_parameters(recurse=False)}
        if parent is not None:
            assigned[name] = parent
        elif len(owners) == 1:
            assigned[name] = owners.pop()
        elif len(owners - {_IDLE}) == 1 and own - {_IDLE}:
            assigned[name] = (owners - {_IDLE}).pop()
        else:
            assigned[name] = None
            if in_encoder and not below:
                floating.append(name)
    for name in floating:
        assigned[name] = _neighbour(name, reach.called, assigned)
    return {name: (module, assigned[name]) for name, module in modules.items()}


def _neighbour(name: str, called: tuple[str, ...], assigned: Mapping[str, str | None]) -> str:
    """The block of what runs just before a module without parameters of its own, or else just after it."""
    if name not in called:
        return _IDLE
    position = called.index(name)
    for other in (*reversed(called[:position]), *called[position:]):
        block = assigned.get(other)
        if block and other.startswith("encoder."):
            return block
    return _IDLE
