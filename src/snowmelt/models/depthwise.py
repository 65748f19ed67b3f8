"""Depthwise convolutions whose bfloat16 gradients are computed in float32 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input, conv2d_weight

Pair = tuple[int, int]


class DepthwiseConv2d(nn.Conv2d):
    """``nn.Conv2d`` with another way back; the same parameters, and the same values forward to the bit."""

    def forward(self, input: Tensor) -> Tensor:
        if not _in_bfloat16_on_cpu(input):
            return super().forward(input)
        return _apply(self, input, self.padding)  # type: ignore[arg-type]


class DepthwiseConv2dSame(Conv2dSame):
    """The same for timm's convolution with TensorFlow's padding."""

    def forward(self, x: Tensor) -> Tensor:
        if not _in_bfloat16_on_cpu(x):
            return super().forward(x)
        padded = pad_same(x, list(self.weight.shape[-2:]), list(self.stride), list(self.dilation))
        return _apply(self, padded, (0, 0))


def pays(convolution: nn.Conv2d) -> bool:
    """Whether its bfloat16 gradient is so slow that two casts to float32 pay.

    oneDNN takes 2 to 20 times as long for it as for the float32 one if the kernel is larger than 3 or the stride
    larger than 1 (AVX512-BF16, 8 to 128 pixels wide); 3 x 3 kernels of stride 1 are faster in bfloat16.
    """
    return (
        1 < convolution.in_channels == convolution.groups
        and (max(convolution.kernel_size) > 3 or max(convolution.stride) > 1)
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


def _in_bfloat16_on_cpu(x: Tensor) -> bool:
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    if torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu") is torch.bfloat16
    return x.dtype is torch.bfloat16


def _apply(convolution: nn.Conv2d, x: Tensor, padding: Pair) -> Tensor:
    output: Tensor = _Float32Gradient.apply(
        x.to(torch.bfloat16),
        convolution.weight,
        convolution.bias,
        convolution.stride,
        padding,
        convolution.dilation,
        convolution.groups,
    )
    return output


class _Float32Gradient(torch.autograd.Function):
    """Forward as ever, backward in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, *options: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = options  # stride, padding, dilation, groups
        return F.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), *ctx.options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].float()
        to_input = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_input = conv2d_input(x.shape, weight.float(), gradient, *ctx.options).to(x.dtype)
        if ctx.needs_input_grad[1]:
            # In the weight's own strides: DDP copies every gradient that has others, and warns.
            to_weight = torch.empty_like(weight).copy_(conv2d_weight(x.float(), weight.shape, gradient, *ctx.options))
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum((0, 2, 3))
        return to_input, to_weight, to_bias, None, None, None, None
