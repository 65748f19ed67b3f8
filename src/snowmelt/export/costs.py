"""What a network costs apart from time: parameters and multiply-adds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from snowmelt.models import unreached_parameters


def count_parameters(network: nn.Module) -> int:
    """Numbers that the answer depends on: parameters that the forward pass never reaches are not among them."""
    return sum(value.numel() for value in network.parameters()) - sum(
        value.numel() for value in unreached_parameters(network).values()
    )


def count_macs(network: nn.Module, images: Tensor) -> int:
    """Multiply-adds of the convolutions and matrix products for ``images`` (B, 3, H, W), by torch's FlopCounterMode.

    It counts two operations for each; norms, activations and resizing are left out, as usual.
    """
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(images)
    return counter.get_total_flops() // 2
