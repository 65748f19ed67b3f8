"""The whole loss of a step: total = (1 - alpha) task + alpha distill.

To add a distillation term, write the function in a file of its own and name it in ``DISTILLATION_TERMS``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.pixels import Divisor
from snowmelt.losses.segmentation import cross_entropy, dice


def untempered(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss that knows no temperature, under the calling convention of ``DISTILLATION_TERMS``."""

    def term(student_logits: Tensor, teacher_logits: Tensor, *, temperature: float, **rest: Tensor | Divisor) -> Tensor:
        return loss(student_logits, teacher_logits, **rest)

    return term


DISTILLATION_TERMS: dict[str, Callable[..., Tensor]] = {
    "kl": distillation_kl,
    "logit_mse": untempered(logit_mse),
}
"""name -> term(student_logits, teacher_logits, *, temperature, valid, divisor) -> scalar"""


class Objective:
    """Weighted terms of one step, each returned by name so that each can be logged.

    task = ``ce_weight`` cross_entropy + ``dice_weight`` dice; distill = the sum of ``distillation_weights`` times the
    terms they name. A term of weight 0 is not computed and not returned (0 times NaN would be NaN).

    Errors: SnowmeltError for alpha outside [0, 1], a negative or non-finite weight, or a term nobody has registered.
    """

    def __init__(
        self,
        alpha: float,
        ce_weight: float = 1.0,
        dice_weight: float = 1.0,
        distillation_weights: Mapping[str, float] | None = None,
        class_weights: Sequence[float] | None = None,
        ignore_index: int = 255,
    ) -> None:
        """``distillation_weights`` None means ``{"kl": 1.0}``."""
        if not 0 <= alpha <= 1:
            raise SnowmeltError(f"alpha must lie in [0, 1], but is {alpha}")
        weights = {"kl": 1.0} if distillation_weights is None else dict(distillation_weights)
        for name in weights:
            if name not in DISTILLATION_TERMS:
                raise SnowmeltError(f"unknown distillation term {name!r}{_suggestion(name)}")
        for name, weight in {"ce_weight": ce_weight, "dice_weight": dice_weight, **weights}.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise SnowmeltError(f"the weight {name} must be finite and not negative, but is {weight}")
        self.alpha = alpha
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.distillation_weights = weights
        self.class_weights = class_weights
        self.ignore_index = ignore_index

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        target: Tensor,
        temperature: float,
        pixels: Divisor = None,
        images: Divisor = None,
    ) -> dict[str, Tensor]:
        """Every term by its name, and "task", "distill" and "total", all scalars; call ``backward`` on the total.

        ``pixels`` and ``images`` are the valid pixels and the images of the whole effective batch (all micro-batches,
        all processes); None means those of this call. Without teacher logits the total is the task, and there is
        neither "distill" nor a distillation term in the answer.

        Shape: logits (B, C, H, W), ``target`` (B, H, W) integer.
        """
        terms: dict[str, Tensor] = {}
        task = student_logits.new_zeros(())
        if self.ce_weight:
            terms["cross_entropy"] = cross_entropy(
                student_logits, target, self.ignore_index, self.class_weights, divisor=pixels
            )
            task = task + self.ce_weight * terms["cross_entropy"]
        if self.dice_weight:
            terms["dice"] = dice(student_logits, target, self.ignore_index, divisor=images)
            task = task + self.dice_weight * terms["dice"]
        terms["task"] = task
        if teacher_logits is None:
            return {**terms, "total": task}
        valid = target != self.ignore_index
        distill = student_logits.new_zeros(())
        for name, weight in self.distillation_weights.items():
            if weight:
                terms[name] = DISTILLATION_TERMS[name](
                    student_logits, teacher_logits, temperature=temperature, valid=valid, divisor=pixels
                )
                distill = distill + weight * terms[name]
        terms["distill"] = distill
        terms["total"] = (1 - self.alpha) * task + self.alpha * distill
        return terms

    def term_names(self, distills: bool) -> list[str]:
        """Names of the terms of a call, with teacher logits (``distills``) or without.

        A process that holds no batch of a set takes part in adding up all the same.
        """
        names = [name for name, weight in (("cross_entropy", self.ce_weight), ("dice", self.dice_weight)) if weight]
        names.append("task")
        if distills:
            names += [name for name, weight in self.distillation_weights.items() if weight]
            names.append("distill")
        return [*names, "total"]

    def average(self, sums: Mapping[str, float], pixels: int, images: int) -> dict[str, float]:
        """Terms of a whole set from ``sums`` of calls with divisors of 1: each over its own count, then weighted.

        ``pixels`` and ``images`` are the valid pixels and the images of the set.
        """
        weighted = ("task", "distill", "total")
        raw = {
            name: value / max(1, images if name == "dice" else pixels)
            for name, value in sums.items()
            if name not in weighted
        }
        weights = {"cross_entropy": self.ce_weight, "dice": self.dice_weight}
        task = sum(weights[name] * value for name, value in raw.items() if name in weights)
        if "distill" not in sums:
            return {**raw, "task": task, "total": task}
        distill = sum(self.distillation_weights[name] * value for name, value in raw.items() if name not in weights)
        total = (1 - self.alpha) * task + self.alpha * distill
        return {**raw, "task": task, "distill": distill, "total": total}


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, DISTILLATION_TERMS, n=1)
    known = ", ".join(DISTILLATION_TERMS)
    return f"; did you mean {close[0]!r}?" if close else f"; known terms: {known}"
