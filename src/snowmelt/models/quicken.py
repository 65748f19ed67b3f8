"""The same network in cheaper arithmetic: fused activations, and gradients in the precision that is fast."""

from __future__ import annotations

from timm.layers import Conv2dSame
from timm.layers.activations import Swish
from torch import nn

from snowmelt.models.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, pays


def quicken(network: nn.Module) -> nn.Module:
    """Exchange slow modules for fast ones of the same parameters and, up to rounding, the same values.

    Only classes change: names, parameters, buffers and ``state_dict`` stay, so weights load and save as before. What
    is changed: timm's ``Swish``, which keeps two tensors for its gradient and makes two passes, for ``nn.SiLU``; and
    depthwise convolutions that ``snowmelt.models.depthwise.pays`` says are slow backward in bfloat16 on a CPU.
    Works in place, as often as one likes, and returns the network.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and pays(module):
            module.__class__ = DepthwiseConv2d
        elif type(module) is Conv2dSame and pays(module):
            module.__class__ = DepthwiseConv2dSame
        elif type(module) is Swish:
            # Swish and SiLU hold nothing but the flag ``inplace``, by the same name.
            module.__class__ = nn.SiLU  # type: ignore[assignment]
    return network
