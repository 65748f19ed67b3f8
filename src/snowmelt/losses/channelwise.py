"""Where in the picture each channel looks: channel-wise distillation.

Reference: Shu, Liu, Gao, Yan, Shen, "Channel-wise Knowledge Distillation for Dense Prediction", 2021
(arXiv 2011.13256).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.losses.pairs import check_temperature, ready_pair
from snowmelt.losses.pixels import Divisor, mean_over
from snowmelt.losses.precision import without_autocast


def channel_wise_distillation(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 4.0,
    valid: Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """T^2 / C times the sum over channels of KL(teacher || student) between distributions over the picture.

    Each channel of each image is one distribution: a softmax over its valid pixels. So a constant added to a channel
    changes nothing, and one channel is as good as many. Works on features too, whatever their C.

    The mean is over images, and ``divisor`` counts images (of the whole effective batch). An image without valid
    pixels gives 0 and counts. No gradient reaches the teacher. Pixels that are not valid influence neither value nor
    gradient, whatever they hold; NaN or infinity in a valid pixel makes the result non-finite.

    Shape: both maps (B, C, H, W), ``valid`` (B, H, W) bool or None for all pixels; returns a scalar of float32, or
    float64 where an input is float64.
    Errors: SnowmeltError for other shapes, or a temperature that is not positive and finite.
    """
    check_temperature(temperature)
    with without_autocast(student_logits.device):
        student, teacher = ready_pair(student_logits, teacher_logits, valid)
        student_log = _log_softmax_over_picture(student, temperature, valid)
        teacher_log = _log_softmax_over_picture(teacher, temperature, valid)
        divergence = (teacher_log.exp() * (teacher_log - student_log)).sum()
        batch, channels = student.shape[:2]
        return mean_over(divergence * (temperature**2 / channels), batch, divisor)


def _log_softmax_over_picture(values: Tensor, temperature: float, valid: Tensor | None) -> Tensor:
    """(B, C, H * W). Outside ``valid`` so low that its probability is 0, and the same number in every map.

    Not minus infinity: that would be NaN in a difference, and in an image that has nothing but such pixels.
    """
    values = values / temperature
    if valid is not None:
        values = values.masked_fill(~valid.unsqueeze(1), torch.finfo(values.dtype).min / 4)
    return F.log_softmax(values.flatten(2), dim=2)
