"""What pulls the student towards its teacher: pure functions of two logit maps.

Reference: Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015 (temperature, T^2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.losses.pairs import check_temperature, ready_pair
from snowmelt.losses.pixels import Divisor, count_pixels, mean_over
from snowmelt.losses.precision import without_autocast


def distillation_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """T^2 KL(teacher || student) between distributions softened by ``temperature``, averaged over valid pixels.

    One channel is the logit of a Bernoulli variable per pixel, several channels are a categorical one over dim 1; two
    channels (0, z) give what one channel z gives. T^2 keeps the size of the gradient when T changes.

    The teacher is a target: no gradient reaches it. Pixels that are not valid influence neither value nor gradient,
    whatever they hold; NaN or infinity in a valid pixel makes the result non-finite.

    Shape: logits (B, C, H, W), ``valid`` (B, H, W) bool or None for all pixels; returns a scalar of float32, or
    float64 where an input is float64. No valid pixel gives 0.
    Errors: SnowmeltError for other shapes, or a temperature that is not positive and finite.
    """
    check_temperature(temperature)
    with without_autocast(student_logits.device):
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        student, teacher = student / temperature, teacher / temperature
        # Ignored pixels are 0 in both maps: two equal distributions, a divergence of exactly 0.
        divergence = _bernoulli_kl if student.shape[1] == 1 else _categorical_kl
        total = divergence(student, teacher).sum() * temperature**2
        return mean_over(total, count_pixels(valid, student), divisor)


def logit_mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """Squared difference of the logits, averaged over channels and valid pixels; knows no temperature.

    Shape, gradient, valid pixels and errors as in ``distillation_kl``. ``divisor`` counts pixels, not pixels times
    channels. Reference: Ba, Caruana, "Do Deep Nets Really Need to be Deep?", 2014.
    """
    with without_autocast(student_logits.device):
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        total = (student - teacher).square().mean(dim=1).sum()
        return mean_over(total, count_pixels(valid, student), divisor)


def _bernoulli_kl(student: Tensor, teacher: Tensor) -> Tensor:
    on = torch.sigmoid(teacher) * (F.logsigmoid(teacher) - F.logsigmoid(student))
    off = torch.sigmoid(-teacher) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return on + off  # (B, 1, H, W)


def _categorical_kl(student: Tensor, teacher: Tensor) -> Tensor:
    student_log = F.log_softmax(student, dim=1)
    teacher_log = F.log_softmax(teacher, dim=1)
    return F.kl_div(student_log, teacher_log, reduction="none", log_target=True)  # (B, C, H, W), one pass
