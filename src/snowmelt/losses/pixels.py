"""Which pixels count in a loss, and the mean over them."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError

Divisor: TypeAlias = int | float | Tensor | None
"""What a sum is divided by. None means the call's own count. Micro-batches and processes that share one effective
batch pass the count of the whole, so that their losses add up to that of the undivided batch. A tensor stays on its
device: nothing here waits for the accelerator."""


def keep_valid(values: Tensor, valid: Tensor | None) -> Tensor:
    """``values`` (B, C, H, W) with 0 in pixels where ``valid`` (B, H, W) is False.

    The selection comes before any arithmetic, not after: zeroing a loss afterwards still lets a NaN into the
    gradient, as 0 * NaN is NaN in the backward pass.
    """
    return values if valid is None else keep(values, valid.unsqueeze(1))


def keep(values: Tensor, mask: Tensor) -> Tensor:
    """``values`` of float32, float64 or a half precision with 0 where ``mask`` (bool, broadcastable) is False.

    As ``torch.where`` with 0, NaN included, but by the bits: PyTorch's selection is not vectorised on CPUs and takes
    ten times as long, which one notices in a step that has a dozen of them.
    """
    kept: Tensor = _Keep.apply(values, mask)
    return kept


class _Keep(torch.autograd.Function):
    """Bitwise "and" with all ones or all zeros; its derivative is itself."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        bits = _INTEGERS[values.element_size()]
        ones = mask.to(bits).neg_()  # True: -1, of which every bit is 1
        return values.view(bits).bitwise_and(ones).view(values.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return keep(gradients[0], mask), None


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def mean_over(total: Tensor, own_count: int | Tensor, divisor: Divisor) -> Tensor:
    """``total`` divided by ``divisor``, or by ``own_count`` where that is None; a count of 0 divides by 1.

    A sum over no pixel is 0 and stays connected to the logits, so an all-ignored batch gives a zero gradient.
    """
    count = own_count if divisor is None else divisor
    if isinstance(count, Tensor):
        return total / torch.where(count == 0, torch.ones_like(count), count).to(total)
    return total / (count or 1)


def count_pixels(valid: Tensor | None, logits: Tensor) -> int | Tensor:
    """Valid pixels of ``logits`` (B, C, H, W); a tensor where there is a mask, so that nothing waits for it."""
    return logits.shape[0] * logits.shape[2] * logits.shape[3] if valid is None else valid.sum()


def check_valid(valid: Tensor | None, logits: Tensor) -> None:
    """Raises SnowmeltError unless ``valid`` is a boolean (B, H, W) mask of ``logits`` (B, C, H, W)."""
    if valid is None:
        return
    expected = (logits.shape[0], *logits.shape[2:])
    if valid.dtype != torch.bool or tuple(valid.shape) != expected:
        raise SnowmeltError(
            f"valid must be a bool mask of shape {expected} for logits of shape {tuple(logits.shape)}, "
            f"but is {valid.dtype} of shape {tuple(valid.shape)}",
            code="array-shape",
        )
