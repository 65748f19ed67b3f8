"""Whether a foreign model gives logits or probabilities, and logits of either."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.options import Outputs

OutputKind = Literal["logits", "probabilities", "independent"]
"""``probabilities`` sum to 1 over the channels, or are those of class 1 where there is one channel; ``independent``
ones do not sum to 1: a sigmoid for each of several channels."""

_WORDS: dict[OutputKind, str] = {
    "logits": "logits",
    "probabilities": "probabilities",
    "independent": "independent probabilities of each class",
}
# Half precision and resizing leave sums a little off 1; no network's logits come this close on every pixel.
_SUM_TOLERANCE = 1e-2
_RANGE_TOLERANCE = 1e-3

LOG_EPS = 1e-12
"""Softmax outputs below this count as this, so that a zero becomes the logit -27.6. Float32 tells much smaller ones
apart, but at a temperature of 4 such a class has a thousandth of the likeliest one's weight already."""
_LOG_EPS_HALF = 2.0**-24  # the smallest positive float16: a zero is anything below it


class OutputJudge:
    """Looks at one answer after another and then says what they are.

    The verdict is about all of them together: one easy picture alone may well have answers of 0 and 1 only.

    Args:
        where: names the model or the file in messages.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._channels = 0
        self._lowest = float("inf")
        self._highest = float("-inf")
        self._off_one = 0.0
        self._whole = True

    def see(self, values: Tensor, where: str | None = None) -> None:
        """(B, K, h, w) floats.

        Errors: SnowmeltError for what can be no logits (integers, another rank), for NaN and infinity.
        """
        where = where or self._where
        if not values.is_floating_point() or values.ndim != 4:
            raise SnowmeltError(
                f"{where}: gives {str(values.dtype).removeprefix('torch.')} of shape {tuple(values.shape)}, like "
                "labels; a teacher must give (B, K, h, w) floats, so export the logits before argmax",
                code="teacher-answer",
            )
        values = values.float()
        if not bool(torch.isfinite(values).all()):
            raise SnowmeltError(
                f"{where}: gives NaN or infinite values; check its weights and its normalisation",
                code="numbers-not-finite",
            )
        self._channels = values.shape[1]
        self._lowest = min(self._lowest, float(values.min()))
        self._highest = max(self._highest, float(values.max()))
        self._off_one = max(self._off_one, float((values.sum(dim=1) - 1).abs().max()))
        self._whole = self._whole and bool((values == values.round()).all())

    def verdict(self, asked: Outputs = "auto") -> OutputKind:
        """What all the answers are.

        Errors: SnowmeltError if they are labels in disguise, or no probabilities although ``asked`` says so.
        """
        if asked == "logits":
            return "logits"
        sums = self._channels == 1 or self._off_one <= _SUM_TOLERANCE
        within = self._lowest >= -_RANGE_TOLERANCE and self._highest <= 1 + _RANGE_TOLERANCE
        varied = self._lowest != self._highest
        if self._whole and varied and self._lowest >= 0 and (self._channels == 1 or (within and sums)):
            raise SnowmeltError(
                f"{self._where}: all its values are whole numbers ({self._lowest:g} to {self._highest:g}), so they are "
                "labels; a teacher must give logits or probabilities, so export those before argmax or thresholding",
                code="teacher-answer",
            )
        if within:
            return "probabilities" if sums else "independent"
        if asked == "probabilities":
            raise SnowmeltError(
                f"{self._where}: teacher.outputs says probabilities, but the values go from {self._lowest:g} to "
                f"{self._highest:g}; set it to logits or auto",
                code="teacher-outputs",
            )
        return "logits"


def judge_outputs(values: Tensor, where: str, asked: Outputs = "auto") -> OutputKind:
    """What (B, K, h, w) answers to real pictures are.

    One channel: probabilities if all lie in [0, 1]. Several: probabilities if they also sum to 1 at every pixel,
    ``independent`` if they do not, and logits otherwise. ``asked`` other than ``auto`` decides instead, except that
    probabilities must look like it.

    Errors: SnowmeltError for labels (integers, no channels, whole numbers only), NaN and infinity.
    """
    judge = OutputJudge(where)
    judge.see(values)
    return judge.verdict(asked)


def to_logits(values: Tensor, kind: OutputKind, where: str) -> Tensor:
    """(B, K, h, w) or (K, h, w) values of a known kind as float32 logits.

    Probabilities over several channels become their logarithm (softmax gives them back), with zeros at ``LOG_EPS``
    (float16: at its smallest positive value). One channel and independent ones become log(p / (1 - p)), p clamped to
    [eps, 1 - eps] with the eps at which the values' precision near 1 ends: logits within +-16.6 for float32 and
    +-7.6 for float16.

    Errors: SnowmeltError if probabilities lie outside [0, 1]: then they are none, whatever the first ones looked like.
    """
    if kind == "logits":
        return values.float()
    low, high = (float(end) for end in torch.aminmax(values))
    if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):  # NaN too
        raise SnowmeltError(
            f"{where}: gives values from {low:g} to {high:g}, but probabilities were expected; "
            "if they are logits, set teacher.outputs: logits",
            code="teacher-outputs",
        )
    if kind == "probabilities" and values.shape[-3] > 1:
        return values.float().clamp(min=_LOG_EPS_HALF if values.dtype == torch.float16 else LOG_EPS).log()
    precision = values.dtype if values.dtype in (torch.float16, torch.bfloat16) else torch.float32
    return probability_logit(values, torch.finfo(precision).eps / 2)


def probability_logit(values: Tensor, eps: float) -> Tensor:
    """log(p / (1 - p)) as float32, p clamped to [eps, 1 - eps]."""
    clamped = values.double().clamp(eps, 1 - eps)  # in float32, 1 - eps has next to no digits left
    return (clamped.log() - (-clamped).log1p()).float()


def say_outputs(kind: OutputKind) -> str:
    """``outputs: probabilities``, for the log."""
    return f"outputs: {_WORDS[kind]}"
