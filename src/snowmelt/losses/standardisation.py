"""Logits without their scale: a small student need not reach a big teacher's.

Reference: Sun, Ren, Li, Wang, Cao, "Logit Standardization in Knowledge Distillation", 2024 (arXiv 2403.01427).
"""

from __future__ import annotations

from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.distillation import distillation_kl
from snowmelt.losses.pairs import check_temperature, ready_pair
from snowmelt.losses.pixels import Divisor, count_pixels
from snowmelt.losses.precision import loss_dtype, without_autocast

EPSILON = 1e-6
"""Added to the deviation: a pixel of equal logits becomes 0, with a gradient that is finite."""


def standardise_logits(logits: Tensor) -> Tensor:
    """(x - mean) / (deviation + 1e-6) over the classes of each pixel; the deviation is that of the population.

    Whatever shift and positive scale the logits of a pixel had is gone. Two classes would keep nothing but a sign,
    and one nothing at all, so fewer than three channels are refused.

    Shape: (B, C, H, W), the same out, in float32 or the caller's float64. NaN stays in its own pixel.
    Errors: SnowmeltError for another number of dimensions or fewer than 3 channels.
    """
    if logits.ndim != 4 or logits.shape[1] < 3:
        raise SnowmeltError(
            f"standardised logits need at least 3 channels in (B, C, H, W), but the shape is {tuple(logits.shape)}: "
            "of two classes only the sign would be left; use the kl as it is",
            code="loss-channels",
        )
    with without_autocast(logits.device):
        centred = logits.to(loss_dtype(logits))
        centred = centred - centred.mean(dim=1, keepdim=True)
        variance = centred.square().mean(dim=1, keepdim=True)
        # The root's slope at 0 is infinite; below the floor, which the epsilon dwarfs, there is none.
        deviation = variance.clamp(min=EPSILON**2 * 1e-6).sqrt()
        return centred / (deviation + EPSILON)


def standardised_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """``distillation_kl`` between logits standardised in each pixel; arguments, result and errors as there.

    The student then matches the order and the proportions of the teacher's logits, not their size.
    Errors: also SnowmeltError for fewer than 3 channels.
    """
    check_temperature(temperature)
    with without_autocast(student_logits.device):
        # Masked before, so that what an ignored pixel holds cannot come back through the gradient of the deviation.
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        count = count_pixels(valid, student) if divisor is None else divisor
        return distillation_kl(standardise_logits(student), standardise_logits(teacher), temperature, divisor=count)
