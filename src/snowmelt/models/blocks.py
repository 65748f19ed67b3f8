"""The blocks of an encoder, deepest first, and the parameters that no forward pass reaches."""

from __future__ import annotations

from torch import nn

from snowmelt.models.partition import EncoderBlock, partition

__all__ = ["EncoderBlock", "encoder_blocks", "unreached_parameters"]


def encoder_blocks(model: nn.Module) -> list[EncoderBlock]:
    """The encoder of any smp model as blocks, deepest first; the stem is part of the last one.

    Only what the forward pass reaches counts, so a shallower encoder has fewer blocks. Every reached encoder
    parameter is in exactly one block.
    Errors: SnowmeltError for a model without encoder, or a parameter left over.
    """
    return list(partition(model).blocks)


def unreached_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name on which the output of the whole model does not depend.

    ``conv_head`` and ``bn2`` of ``timm-efficientnet-*`` are such: they belong to a classifier that is not there.
    """
    return dict(partition(model).idle_parameters)
