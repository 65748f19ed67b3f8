"""What the labels ask for: cross-entropy and soft Dice over the pixels that are not ignored.

Labels are class indices. A label that is neither a class nor ``ignore_index`` has to be found where data is read:
looking for one here would make every step wait for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.pixels import Divisor, keep, keep_valid, mean_over
from snowmelt.losses.precision import for_loss, without_autocast


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    class_weights: Sequence[float] | Tensor | None = None,
    divisor: Divisor = None,
) -> Tensor:
    """Weighted cross-entropy; with one channel the binary one, in which class 1 is what the logit speaks for.

    ``class_weights`` holds one factor per class, (background, foreground) with one channel. The sum is divided by the
    number of valid pixels, not by the sum of their weights as ``torch.nn.functional.cross_entropy`` does: only a
    count adds up over micro-batches and processes.

    Shape: ``logits`` (B, C, H, W), ``target`` (B, H, W) of any integer type; a scalar, 0 without valid pixels.
    Errors: SnowmeltError for other shapes, a target that is not integer, or a wrong number of weights.
    """
    _check_target(logits, target)
    _check_weights(logits, class_weights)
    with without_autocast(logits.device):
        valid, labels, logits = _select(logits, target, ignore_index)
        if logits.shape[1] == 1:
            truth = labels.to(logits.dtype)
            per_pixel = F.binary_cross_entropy_with_logits(logits[:, 0], truth, reduction="none")
            if class_weights is not None:
                background, foreground = class_weights
                per_pixel = per_pixel * (background + truth * (foreground - background))
        else:
            weight = None if class_weights is None else _as_tensor(class_weights, logits)
            per_pixel = _class_entropy(logits, labels, weight)
        return mean_over(keep(per_pixel, valid).sum(), valid.sum(), divisor)


def dice(
    logits: Tensor,
    target: Tensor,
    ignore_index: int = 255,
    smooth: float = 1.0,
    divisor: Divisor = None,
) -> Tensor:
    """1 minus the soft Dice coefficient of each image over its valid pixels, averaged over images.

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), in pixels. Sums never cross images, so the loss of a
    batch does not depend on how it is cut; ``divisor`` is the number of images of the whole batch.

    Absent classes: with several channels an image's value is the mean over the classes that its valid truth holds;
    probability wrongly given to an absent class is missing from a present one, where it is counted already. With one
    channel there is no other class to notice, so an image without foreground counts, as 1 - smooth / (sum(p) +
    smooth). An image without valid pixels has a loss of 0 and counts as an image.

    Shape: ``logits`` (B, C, H, W), ``target`` (B, H, W) of any integer type; a scalar.
    Errors: SnowmeltError for other shapes or a smooth that is not positive.
    Reference: Milletari, Navab, Ahmadi, "V-Net", 2016.
    """
    _check_target(logits, target)
    if not smooth > 0:
        raise SnowmeltError(
            f"smooth must be positive (it decides the Dice of an empty image), but is {smooth}", code="argument-value"
        )
    with without_autocast(logits.device):
        valid, labels, logits = _select(logits, target, ignore_index)
        binary = logits.shape[1] == 1
        probability = torch.sigmoid(logits) if binary else torch.softmax(logits, dim=1)
        probability = keep_valid(probability, valid)  # (B, C, H, W)
        classes = torch.arange(logits.shape[1], device=logits.device) + int(binary)
        truth = (labels.unsqueeze(1) == classes.view(1, -1, 1, 1)) & valid.unsqueeze(1)
        overlap = keep(probability, truth).sum(dim=(2, 3))  # (B, C)
        true_size = truth.sum(dim=(2, 3))
        coefficient = (2 * overlap + smooth) / (probability.sum(dim=(2, 3)) + true_size + smooth)
        loss = 1 - coefficient
        if binary:
            per_image = loss[:, 0]
        else:
            # A factor, not a selection: NaN logits make every class NaN, and must come through.
            present = (true_size > 0).to(loss.dtype)
            per_image = (loss * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)
        return mean_over(per_image.sum(), logits.shape[0], divisor)


def _select(logits: Tensor, target: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """valid (B, H, W) bool, labels int64 with 0 in ignored pixels, logits in float32 with 0 in ignored pixels."""
    target = target.long()
    valid = target != ignore_index
    labels = torch.where(valid, target, torch.zeros_like(target))
    return valid, labels, keep_valid(for_loss(logits), valid)


def _class_entropy(logits: Tensor, labels: Tensor, weight: Tensor | None) -> Tensor:
    """Weighted cross-entropy of every pixel, (B, H, W)."""
    if not torch.are_deterministic_algorithms_enabled():
        return F.cross_entropy(logits, labels, weight=weight, reduction="none")
    # PyTorch's kernel for maps refuses to run then on CUDA. This gives the same bits for more memory: of each pixel's
    # terms all but one are 0.
    chosen = labels.unsqueeze(1) == torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
    logarithms = torch.log_softmax(logits, dim=1)
    picked = -torch.where(chosen, logarithms, torch.zeros_like(logarithms)).sum(dim=1)
    return picked if weight is None else picked * weight[labels]


def _as_tensor(class_weights: Sequence[float] | Tensor, logits: Tensor) -> Tensor:
    # From ordinary host memory a non-blocking copy does not make the host wait for the device.
    return torch.as_tensor(class_weights, dtype=logits.dtype).to(logits.device, non_blocking=True)


def _check_target(logits: Tensor, target: Tensor) -> None:
    fits = logits.ndim == 4 and target.shape == (logits.shape[0], *logits.shape[2:])
    if not fits:
        raise SnowmeltError(
            "logits must be (B, C, H, W) and the target (B, H, W), "
            f"but they are {tuple(logits.shape)} and {tuple(target.shape)}",
            code="array-shape",
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise SnowmeltError(
            f"the target must hold class indices of an integer type, but is {target.dtype}", code="array-shape"
        )


def _check_weights(logits: Tensor, class_weights: Sequence[float] | Tensor | None) -> None:
    classes = max(2, logits.shape[1])
    if class_weights is not None and len(class_weights) != classes:
        raise SnowmeltError(
            f"class_weights needs one factor for each of the {classes} classes, but has {len(class_weights)}",
            code="class-weights",
        )
