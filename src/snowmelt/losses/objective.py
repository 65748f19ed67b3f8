"""The whole loss of a step: total = (1 - alpha) task + alpha distill.

To add a distillation term, write the function in a file of its own and name it in ``terms.DISTILLATION_TERMS``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.pixels import Divisor
from snowmelt.losses.precision import for_loss
from snowmelt.losses.segmentation import cross_entropy, dice
from snowmelt.losses.standardisation import standardised_kl
from snowmelt.losses.terms import DISTILLATION_TERMS, find_term, untempered

__all__ = ["DISTILLATION_TERMS", "Objective", "untempered"]

FeaturePairs = Sequence[tuple[Tensor, Tensor]]
"""(student's, already projected; teacher's) feature maps, each (B, C, h, w)"""

TASK_WEIGHTS = {"ce": "cross_entropy", "dice": "dice"}
"""name of a weight of the task -> name of its term"""


class Objective:
    """Weighted terms of one step, each returned by name so that each can be logged.

    task = ``ce_weight`` cross_entropy + ``dice_weight`` dice; distill = the sum of ``distillation_weights`` times the
    terms they name. A term of weight 0 is not computed and not returned (0 times NaN would be NaN), unless its weight
    is ``scheduled``: then it is there at all times, so that the names of the terms never change within a run.

    A pixel of label ``ignore_index`` counts in no term. One of ``unlabelled_index`` has no known label, but is a real
    pixel: distillation terms count it. A picture that holds such a pixel is an unlabelled one, and no image for Dice.

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
        *,
        standardise: bool = False,
        unlabelled_index: int = 254,
        scheduled: Collection[str] = (),
    ) -> None:
        """``distillation_weights`` None means ``{"kl": 1.0}``.

        ``standardise``: the kl compares logits standardised in each pixel (``standardised_kl``). ``scheduled`` names
        the weights that calls will override: "alpha", "ce", "dice" or a distillation term.
        """
        weights = {"kl": 1.0} if distillation_weights is None else dict(distillation_weights)
        for name in weights:
            find_term(name)
        if unlabelled_index == ignore_index:
            raise SnowmeltError(
                f"unlabelled_index and ignore_index must differ, but both are {ignore_index}", code="argument-value"
            )
        _check_weights({"alpha": alpha, "ce_weight": ce_weight, "dice_weight": dice_weight, **weights})
        for name in scheduled:
            if name != "alpha" and name not in TASK_WEIGHTS:
                find_term(name)
                weights.setdefault(name, 0.0)
        self.alpha = alpha
        self.ce_weight = ce_weight
        self.dice_weight = dice_weight
        self.distillation_weights = weights
        self.class_weights = class_weights
        self.ignore_index = ignore_index
        self.standardise = standardise
        self.unlabelled_index = unlabelled_index
        self.scheduled = frozenset(scheduled)

    def __call__(
        self,
        student_logits: Tensor,
        teacher_logits: Tensor | None,
        target: Tensor,
        temperature: float,
        pixels: Divisor = None,
        images: Divisor = None,
        *,
        taught_pixels: Divisor = None,
        taught_images: Divisor = None,
        weights: Mapping[str, float] | None = None,
        features: FeaturePairs = (),
    ) -> dict[str, Tensor]:
        """Every term by its name, and "task", "distill" and "total", all scalars; call ``backward`` on the total.

        The divisors count the whole effective batch (all micro-batches, all processes): ``pixels`` and ``images``
        those with labels, ``taught_pixels`` and ``taught_images`` the unlabelled ones too. None means the counts of
        this call; where only the former are given, the latter are the same. Without teacher logits the total is the
        task, and there is neither "distill" nor a distillation term in the answer.

        ``weights`` replaces weights for this call ("alpha", "ce", "dice", or a distillation term).

        Shape: logits (B, C, H, W), ``target`` (B, H, W) integer.
        Errors: SnowmeltError for shapes, weights or temperatures that cannot be, or a weight of "feature" without
        ``features``.
        """
        now = self._weights(weights)
        student_logits = for_loss(student_logits)  # once for all terms
        terms = self._task_terms(student_logits, target, pixels, images)
        task = student_logits.new_zeros(())
        for weight, name in TASK_WEIGHTS.items():
            if name in terms:
                task = task + now[weight] * terms[name]
        terms["task"] = task
        if teacher_logits is None:
            return {**terms, "total": task}
        valid = target != self.ignore_index
        counts = _Counts(
            pixels if taught_pixels is None else taught_pixels, images if taught_images is None else taught_images
        )
        if counts.pixels is None:
            counts = counts._replace(pixels=valid.sum())
        distill = student_logits.new_zeros(())
        for name in self._distillation_names():
            pairs = features if find_term(name).compares == "features" else ((student_logits, teacher_logits),)
            terms[name] = self._distillation_term(name, pairs, temperature, valid, counts)
            distill = distill + now[name] * terms[name]
        terms["distill"] = distill
        terms["total"] = (1 - now["alpha"]) * task + now["alpha"] * distill
        return terms

    def term_names(self, distills: bool) -> list[str]:
        """Names of the terms of a call, with teacher logits (``distills``) or without.

        A process that holds no batch of a set takes part in adding up all the same.
        """
        names = [*self._task_names(), "task"]
        if distills:
            names += [*self._distillation_names(), "distill"]
        return [*names, "total"]

    def average(
        self,
        sums: Mapping[str, float],
        pixels: int,
        images: int,
        taught_pixels: int | None = None,
        taught_images: int | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> dict[str, float]:
        """Terms of a whole set from ``sums`` of calls with divisors of 1: each over its own count, then weighted.

        ``pixels`` and ``images`` are those of the set that have labels, ``taught_pixels`` and ``taught_images`` all
        that are not ignored (None: the same); ``weights`` as in a call.
        """
        now = self._weights(weights)
        counts = {"cross_entropy": pixels, "dice": images}
        taught = {
            "pixels": pixels if taught_pixels is None else taught_pixels,
            "images": images if taught_images is None else taught_images,
        }
        distillation = self._distillation_names() if "distill" in sums else []
        counts |= {name: taught[find_term(name).unit] for name in distillation}
        raw = {name: value / max(1, counts[name]) for name, value in sums.items() if name in counts}
        task = sum(now[weight] * raw[name] for weight, name in TASK_WEIGHTS.items() if name in raw)
        if "distill" not in sums:
            return {**raw, "task": task, "total": task}
        distill = sum(now[name] * raw[name] for name in distillation)
        total = (1 - now["alpha"]) * task + now["alpha"] * distill
        return {**raw, "task": task, "distill": distill, "total": total}

    def steady_task(self, terms: Mapping[str, float]) -> float:
        """The task's loss out of the means ``terms``, with the objective's own weights whatever a schedule says.

        So it can be compared between epochs. A scheduled term whose own weight is 0 counts with 1.
        """
        own = {"ce": self.ce_weight, "dice": self.dice_weight}
        return sum((own[weight] or 1.0) * terms[name] for weight, name in TASK_WEIGHTS.items() if name in terms)

    def require(self, channels: int) -> None:
        """Raises SnowmeltError if a term, or standardising, means nothing with so few logit channels."""
        for name in self._distillation_names():
            term = find_term(name)
            if channels < term.least_channels:
                raise SnowmeltError(
                    f"the distillation term {name} needs at least {term.least_channels} logit channels, but there "
                    f"{'is' if channels == 1 else 'are'} {channels}: {term.instead or 'give it no weight'}",
                    code="loss-channels",
                )
        if self.standardise and channels < 3:
            raise SnowmeltError(
                f"standardising logits needs at least 3 channels, but there {'is' if channels == 1 else 'are'} "
                f"{channels}: of two classes only the sign of the logit would be left; use the kl as it is",
                code="loss-channels",
            )

    def _task_names(self) -> list[str]:
        weights = {"ce": self.ce_weight, "dice": self.dice_weight}
        return [name for weight, name in TASK_WEIGHTS.items() if weights[weight] or weight in self.scheduled]

    def _distillation_names(self) -> list[str]:
        return [name for name, weight in self.distillation_weights.items() if weight or name in self.scheduled]

    def _weights(self, overrides: Mapping[str, float] | None) -> dict[str, float]:
        """The weights of a call, by the names that ``weights`` goes by."""
        own = {"alpha": self.alpha, "ce": self.ce_weight, "dice": self.dice_weight, **self.distillation_weights}
        if not overrides:
            return own
        _check_weights(overrides)
        computed = {"alpha", *self._distillation_names()}
        computed |= {weight for weight, name in TASK_WEIGHTS.items() if name in self._task_names()}
        for name, weight in overrides.items():
            if name not in own:
                find_term(name)
            if weight and name not in computed:
                raise SnowmeltError(
                    f"the term {name} is not computed, as its weight is 0; name it in scheduled", code="call-incomplete"
                )
        return {**own, **overrides}

    def _task_terms(self, logits: Tensor, target: Tensor, pixels: Divisor, images: Divisor) -> dict[str, Tensor]:
        unlabelled = target == self.unlabelled_index
        labels = torch.where(unlabelled, self.ignore_index, target.long())
        names, terms = self._task_names(), {}
        if "cross_entropy" in names:
            terms["cross_entropy"] = cross_entropy(logits, labels, self.ignore_index, self.class_weights, pixels)
        if "dice" in names:
            partly = unlabelled.flatten(1).any(dim=1)  # (B,)
            whole = torch.where(partly[:, None, None], self.ignore_index, labels)
            divisor = (~partly).sum() if images is None else images
            terms["dice"] = dice(logits, whole, self.ignore_index, divisor=divisor)
        return terms

    def _distillation_term(
        self, name: str, pairs: FeaturePairs, temperature: float, valid: Tensor, counts: _Counts
    ) -> Tensor:
        term = find_term(name)
        if not pairs:
            raise SnowmeltError(
                f"the distillation term {name} has a weight, but the call was given no features", code="call-incomplete"
            )
        loss = standardised_kl if self.standardise and name == "kl" else term.loss
        divisor = counts.pixels if term.unit == "pixels" else counts.images
        values = [loss(ours, theirs, temperature=temperature, valid=valid, divisor=divisor) for ours, theirs in pairs]
        return values[0] if len(values) == 1 else torch.stack(values).mean()


class _Counts(NamedTuple):
    """What distillation terms are divided by."""

    pixels: Divisor
    images: Divisor


def _check_weights(weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if name == "alpha":
            if not 0 <= weight <= 1:
                raise SnowmeltError(f"alpha must lie in [0, 1], but is {weight}", code="settings-value")
        elif not (math.isfinite(weight) and weight >= 0):
            raise SnowmeltError(
                f"the weight {name} must be finite and not negative, but is {weight}", code="settings-value"
            )
