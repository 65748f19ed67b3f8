"""Every loss is computed in float32 (or the caller's float64), whatever autocast says around it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> AbstractContextManager:
    """A context in which autocast is off for this kind of device (cpu, cuda, mps, ...)."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device_type=device.type, enabled=False)
    return nullcontext()


def loss_dtype(*tensors: Tensor) -> torch.dtype:
    """float32 for half, bfloat16 and float32 inputs; float64 as soon as one input is float64."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def for_loss(values: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """(B, C, H, W) in the precision of losses (or ``dtype``), plane by plane in memory.

    Networks answer channels last, in which PyTorch's softmax over channels takes ten times as long on a CPU. The
    order is changed first, while half precision is still half the bytes.
    """
    return values.contiguous().to(loss_dtype(values) if dtype is None else dtype)
