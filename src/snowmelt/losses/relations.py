"""Agreement up to scale and shift: DIST compares probabilities by their correlation.

Reference: Huang, You, Wang, Qian, Xu, "Knowledge Distillation from A Stronger Teacher", 2022 (arXiv 2205.10536).
"""

from __future__ import annotations

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.pairs import check_temperature, inverse_root, ready_pair
from snowmelt.losses.pixels import Divisor, count_pixels, keep_valid, mean_over
from snowmelt.losses.precision import without_autocast

LEAST_DEVIATION = 1e-6
"""Probabilities that deviate less than this from their mean (root mean square) count as constant: their correlation
with anything is 0, without a gradient. It is far above float32's rounding and keeps gradients below 1e6."""


def dist_inter(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """T^2 times the mean over valid pixels of 1 - correlation over classes between the softened probabilities.

    Unlike the KL it asks only for the same preferences: probabilities stretched or shifted by a positive factor are
    as good. With two classes every correlation is +1 or -1 and its gradient 0, so fewer than three are refused.

    ``divisor`` counts pixels. Gradient, valid pixels, shapes and result as in ``distillation_kl``. A pixel of equal
    probabilities (see ``LEAST_DEVIATION``) has no preference: it counts as uncorrelated, which costs T^2. An infinite
    logit may pass as a probability of 0 or 1; NaN in a valid pixel does not.
    Errors: SnowmeltError for fewer than 3 channels, other shapes, or an impossible temperature.
    """
    check_temperature(temperature)
    if student_logits.ndim == 4 and student_logits.shape[1] < 3:
        raise SnowmeltError(
            f"dist_inter needs at least 3 channels, but the logits have {student_logits.shape[1]}: "
            "over fewer classes every correlation is +1 or -1; use dist_intra or kl",
            code="loss-channels",
        )
    with without_autocast(student_logits.device):
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        mean = 1 / student.shape[1]
        ours = torch.softmax(student / temperature, dim=1) - mean
        theirs = torch.softmax(teacher / temperature, dim=1) - mean
        distance = 1 - _correlation(ours, theirs, (1,), student.shape[1])  # (B, H, W)
        if valid is not None:
            distance = torch.where(valid, distance, torch.zeros_like(distance))
        return mean_over(distance.sum() * temperature**2, count_pixels(valid, student), divisor)


def dist_intra(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """T^2 times 1 - correlation over an image's valid pixels, for each class; mean over classes, then over images.

    The paper correlates over the whole batch. Here each image stands alone, so that the loss of a batch does not
    depend on how it is cut into micro-batches and processes; ``divisor`` counts images (of the whole effective
    batch). One channel is correlated by its sigmoid, several by their softmax.

    An image without valid pixels gives 0 and counts. A class of one and the same probability everywhere (see
    ``LEAST_DEVIATION``) counts as uncorrelated, which costs T^2. Gradient, valid pixels, shapes and result as in
    ``dist_inter``.
    Errors: SnowmeltError for other shapes, or an impossible temperature.
    """
    check_temperature(temperature)
    with without_autocast(student_logits.device):
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        batch, _, height, width = student.shape
        count = height * width if valid is None else valid.sum(dim=(1, 2)).clamp(min=1).unsqueeze(1)  # (B, 1)
        ours = _deviations(student / temperature, valid, count)
        theirs = _deviations(teacher / temperature, valid, count)
        distance = (1 - _correlation(ours, theirs, (2, 3), count)).mean(dim=1)  # (B,)
        if valid is not None:
            distance = torch.where(valid.flatten(1).any(dim=1), distance, torch.zeros_like(distance))
        return mean_over(distance.sum() * temperature**2, batch, divisor)


def _deviations(logits: Tensor, valid: Tensor | None, count: int | Tensor) -> Tensor:
    """Probabilities minus their mean over the image's valid pixels, and 0 elsewhere."""
    probability = torch.sigmoid(logits) if logits.shape[1] == 1 else torch.softmax(logits, dim=1)
    total = keep_valid(probability, valid).sum(dim=(2, 3))  # (B, C)
    return keep_valid(probability - (total / count)[:, :, None, None], valid)


def _correlation(ours: Tensor, theirs: Tensor, dims: tuple[int, ...], count: int | Tensor) -> Tensor:
    """Pearson correlation over ``dims`` of two maps that have a mean of 0 there."""
    covariance = (ours * theirs).sum(dim=dims) / count
    ours_inverse = inverse_root(ours.square().sum(dim=dims) / count, LEAST_DEVIATION)
    theirs_inverse = inverse_root(theirs.square().sum(dim=dims) / count, LEAST_DEVIATION)
    return covariance * ours_inverse * theirs_inverse
