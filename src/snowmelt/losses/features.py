"""Agreement inside the networks: feature maps of equal direction, whatever their scale.

The idea is that of FitNets (Romero et al., "FitNets: Hints for Thin Deep Nets", 2015, arXiv 1412.6550), with a
learned projection to the teacher's channels; the distance is that of unit vectors (as in Zagoruyko, Komodakis, "Paying
More Attention to Attention", 2017, arXiv 1612.03928), because features of two networks have no common scale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snowmelt.errors import SnowmeltError
from snowmelt.losses.pairs import inverse_root
from snowmelt.losses.pixels import Divisor, keep_valid, mean_over
from snowmelt.losses.precision import loss_dtype, without_autocast

LEAST_LENGTH = 1e-6
"""A feature vector shorter than this has no direction: it counts as orthogonal to any other, without a gradient."""


class FeatureProjection(nn.Module):
    """Student features to the teacher's channels: a 1x1 convolution without bias.

    It learns with the student and belongs to the loss: nothing but the loss uses it, and it is dropped at export.

    Shape: (B, ``in_channels``, h, w) -> (B, ``out_channels``, h, w).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        return self.convolution(features)


def feature_matching(student: Tensor, teacher: Tensor, valid: Tensor | None = None, divisor: Divisor = None) -> Tensor:
    """1 - cosine between the feature vectors at each place, averaged over valid pixels.

    That is half the squared distance of the vectors scaled to length 1, so no scale of either map matters. The
    teacher's map is brought to the student's size (bilinear) where they differ; project the student's channels first
    (``FeatureProjection``). No gradient reaches the teacher.

    ``valid`` is a mask of the picture. A cell of the map stands for the pixels it covers, H W / (h w), and counts with
    those of them that are valid; so ``divisor`` counts pixels of the picture, as in every loss per pixel. (Exact where
    h and w divide H and W; else pixels on a border count in both cells.) Without ``valid`` each cell counts 1, and
    ``divisor`` counts cells. A cell without any valid pixel influences neither value nor gradient, whatever it holds;
    NaN in another one makes the result non-finite.

    Shape: ``student`` (B, C, h, w), ``teacher`` (B, C, h', w'), ``valid`` (B, H, W) bool; returns a scalar of float32,
    or float64 where an input is float64.
    Errors: SnowmeltError for other shapes.
    """
    if student.ndim != 4 or teacher.ndim != 4 or student.shape[:2] != teacher.shape[:2]:
        raise SnowmeltError(
            "student and teacher features must be (B, C, h, w) with one B and C (project the student's first), "
            f"but are {tuple(student.shape)} and {tuple(teacher.shape)}",
            code="array-shape",
        )
    with without_autocast(student.device):
        dtype = loss_dtype(student, teacher)
        student, teacher = student.to(dtype), teacher.detach().to(dtype)
        if valid is None:
            distance = 1 - _cosine(student, _resized(teacher, student))
            return mean_over(distance.sum(), distance.numel(), divisor)
        _check_mask(valid, student)
        covered = _covered(valid, student)
        same = teacher.shape == student.shape
        teacher = keep_valid(teacher, (covered if same else _covered(valid, teacher)) > 0)
        distance = 1 - _cosine(keep_valid(student, covered > 0), _resized(teacher, student))  # (B, h, w)
        return mean_over((distance * covered).sum(), valid.sum(), divisor)


def _cosine(student: Tensor, teacher: Tensor) -> Tensor:
    product = (student * teacher).sum(dim=1)
    student_inverse = inverse_root(student.square().sum(dim=1), LEAST_LENGTH)
    return product * student_inverse * inverse_root(teacher.square().sum(dim=1), LEAST_LENGTH)


def _resized(teacher: Tensor, student: Tensor) -> Tensor:
    if teacher.shape == student.shape:
        return teacher
    return F.interpolate(teacher, student.shape[2:], mode="bilinear", align_corners=False)


def _covered(valid: Tensor, features: Tensor) -> Tensor:
    """(B, h, w): how many valid pixels of the picture each cell stands for."""
    height, width = features.shape[2:]
    share = F.adaptive_avg_pool2d(valid.to(features.dtype).unsqueeze(1), (height, width)).squeeze(1)
    return share * (valid.shape[1] * valid.shape[2] / (height * width))


def _check_mask(valid: Tensor, features: Tensor) -> None:
    if valid.dtype != torch.bool or valid.ndim != 3 or valid.shape[0] != features.shape[0]:
        raise SnowmeltError(
            f"valid must be a bool mask (B, H, W) of the picture for features of shape {tuple(features.shape)}, "
            f"but is {valid.dtype} of shape {tuple(valid.shape)}",
            code="array-shape",
        )
