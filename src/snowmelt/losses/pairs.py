"""A student's map and its teacher's, checked and made ready for being compared."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.pixels import check_valid, keep_valid
from snowmelt.losses.precision import for_loss, loss_dtype


def ready_pair(student: Tensor, teacher: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both maps (B, C, H, W) in the precision of losses, 0 where not ``valid``; the teacher's without its graph.

    Errors: SnowmeltError for maps of other or different shapes, or a mask that does not fit them.
    """
    if student.ndim != 4 or student.shape[1] < 1 or student.shape != teacher.shape:
        raise SnowmeltError(
            "student and teacher logits must both be (B, C, H, W) of one shape, "
            f"but are {tuple(student.shape)} and {tuple(teacher.shape)}",
            code="array-shape",
        )
    check_valid(valid, student)
    dtype = loss_dtype(student, teacher)
    return keep_valid(for_loss(student, dtype), valid), keep_valid(for_loss(teacher.detach(), dtype), valid)


def check_temperature(temperature: float) -> None:
    """Raises SnowmeltError unless ``temperature`` is positive and finite."""
    if not (math.isfinite(temperature) and temperature > 0):
        raise SnowmeltError(f"temperature must be positive and finite, but is {temperature}", code="settings-value")


def inverse_root(square: Tensor, least: float) -> Tensor:
    """1 / sqrt(``square``), or 0 without a gradient where the root lies below ``least``.

    For the length of a vector that has to have a direction: one of length 0 has none, and would ask for an infinite
    gradient. NaN counts as below; it has to come through by the vector itself.
    """
    floor = least * least
    return torch.where(square >= floor, square.clamp(min=floor).rsqrt(), torch.zeros_like(square))
