"""TensorFlow's SAME padding as constants."""

from __future__ import annotations

import copy

import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn


class SettledConv2dSame(Conv2dSame):
    """timm's convolution for inputs whose sides its stride divides; there the padding does not depend on the size.

    timm computes it from the size at every call. With free sizes the exporter carries that formula through all layers,
    and it grows until exporting an EfficientNet does not end.
    """

    def forward(self, x: Tensor) -> Tensor:
        down, across = (
            max(dilation * (kernel - 1) + 1 - stride, 0)
            for kernel, stride, dilation in zip(self.kernel_size, self.stride, self.dilation, strict=True)
        )
        padded = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return F.conv2d(padded, self.weight, self.bias, self.stride, (0, 0), self.dilation, self.groups)


def settle_padding(network: nn.Module) -> nn.Module:
    """A copy whose SAME convolutions pad by constants: the same values for sides that the network's stride divides."""
    settled = copy.deepcopy(network)
    for module in settled.modules():
        if isinstance(module, Conv2dSame):
            module.__class__ = SettledConv2dSame
    return settled
