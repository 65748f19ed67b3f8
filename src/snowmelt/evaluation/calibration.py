"""Calibration: is a network that says 80 % right in 80 % of such pixels?"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError

BINS = 15


class Bin(NamedTuple):
    """One row of the reliability table.

    ``confidence`` and ``accuracy`` are means over the bin's pixels, NaN where it is empty; ``share`` is of all pixels.
    """

    confidence: float
    accuracy: float
    share: float


class Calibration:
    """Expected calibration error over bins of equal width (Guo, Pleiss, Sun, Weinberger: On Calibration of Modern
    Neural Networks, ICML 2017), pixel by pixel.

    The confidence of a pixel is the probability of the class that is predicted: the largest of the softmax, or for one
    logit z, the sigmoid of ``|z|``.

    Args:
        bins: number of bins M; bin m holds confidences above m / M up to (m + 1) / M.
        exact: float64 sums; ``False`` for devices that have none.

    Attributes:
        totals: (3, M): pixels, sum of confidences, right ones. May be all-reduced in place.
    """

    def __init__(self, bins: int = BINS, device: torch.device | str | None = None, exact: bool = True) -> None:
        if bins < 1:
            raise SnowmeltError(f"{bins} bins: calibration needs at least one", code="argument-value")
        self.bins = bins
        self.totals = torch.zeros(3, bins, dtype=torch.float64 if exact else torch.float32, device=device)

    def add(self, logits: Tensor, targets: Tensor, ignore_index: int | None = None) -> None:
        """Add logits (B, 1, H, W) or (B, C, H, W) with their truth (B, H, W); nothing waits for the device."""
        if logits.ndim != 4 or targets.shape != (logits.shape[0], *logits.shape[2:]):
            raise SnowmeltError(
                f"logits of shape {tuple(logits.shape)} do not fit truth of shape {tuple(targets.shape)}; "
                "give (batch, channels, height, width) and (batch, height, width)",
                code="array-shape",
            )
        confidence, predicted = confidences(logits)
        counts = torch.ones_like(targets, dtype=torch.bool) if ignore_index is None else targets != ignore_index
        place = ((confidence * self.bins).ceil().long() - 1).clamp(0, self.bins - 1)
        rows = torch.stack([counts, confidence * counts, (predicted == targets) & counts]).to(self.totals.dtype)
        self.totals.scatter_add_(1, place.reshape(1, -1).expand(3, -1), rows.reshape(3, -1))

    def reliability(self) -> list[Bin]:
        """The table behind the error, from the least confident bin to the most."""
        pixels, confidence, right = self.totals.cpu().double()
        total = pixels.sum()
        table = torch.stack([confidence / pixels, right / pixels, pixels / total], dim=1)
        return [Bin(*row) for row in table.tolist()]

    def error(self) -> float:
        """Mean distance between confidence and accuracy of the bins, weighted by pixels; NaN where there are none."""
        pixels, confidence, right = self.totals.cpu().double()
        return float((confidence - right).abs().sum() / pixels.sum())


def confidences(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(B, H, W) float32 probability of the predicted class, and the class, as ``predict_classes`` has it."""
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits[:, 0].abs().sigmoid(), (logits[:, 0] > 0).long()
    largest, predicted = logits.max(dim=1)
    return (largest - logits.logsumexp(dim=1)).exp(), predicted
