"""Why a step made no update: one number for each step, found out on the device, the same in every process."""

from __future__ import annotations

import torch
from torch import Tensor

OVERFLOW, FINE, GRADIENT, STATISTICS, LOSS, TEACHER = range(-1, 5)
"""What was not finite; of several the first in the order of computing, which is the last here.

``OVERFLOW`` is a gradient that fp16 could not hold at the loss scale of that step. The scaler lowers its scale, so it
is no sign that anything is wrong until there is nothing left to lower."""

NAMES = {
    OVERFLOW: "gradient at the loss scale of fp16",
    GRADIENT: "gradient",
    STATISTICS: "norm statistics",
    LOSS: "loss",
    TEACHER: "teacher output",
}
WEIGHTS = "answers on all validation images"
"""What was not finite when an epoch was scored; no step's cause."""

LEAST_SCALE = 1.0
"""A loss scale at which a gradient is no larger than it is: what overflows here overflows by itself."""


def find_cause(flags: Tensor, scale: Tensor | None) -> Tensor:
    """() int64 on the device.

    Args:
        flags: (4,) of gradient, norm statistics, loss, teacher; above 0 where some process found it not finite.
        scale: () the loss scale of the step, with fp16.
    """
    codes = torch.arange(1, len(flags) + 1, device=flags.device)
    cause = (codes * (flags > 0)).amax()
    if scale is None:
        return cause
    overflow = (cause == GRADIENT) & (scale > LEAST_SCALE)
    return torch.where(overflow, torch.full_like(cause, OVERFLOW), cause)
