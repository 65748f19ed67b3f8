"""The distillation terms that an objective can weigh. A new one is a line in ``DISTILLATION_TERMS``."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses.channelwise import channel_wise_distillation
from snowmelt.losses.distillation import distillation_kl, logit_mse
from snowmelt.losses.features import feature_matching
from snowmelt.losses.pixels import Divisor
from snowmelt.losses.relations import dist_inter, dist_intra


@dataclass(frozen=True)
class Term:
    """One distillation term.

    Args:
        loss: (student, teacher, *, temperature, valid, divisor) -> scalar.
        unit: what its mean is over, and so what ``divisor`` counts.
        least_channels: logit channels without which it means nothing; ``instead`` says why, and what to use.
        compares: logits, or each pair of feature maps that the caller hands over.
    """

    loss: Callable[..., Tensor]
    unit: Literal["pixels", "images"] = "pixels"
    least_channels: int = 1
    instead: str = ""
    compares: Literal["logits", "features"] = "logits"


def untempered(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A loss that knows no temperature, under the calling convention of ``Term``."""

    def term(student: Tensor, teacher: Tensor, *, temperature: float, **rest: Tensor | Divisor) -> Tensor:
        return loss(student, teacher, **rest)

    return term


DISTILLATION_TERMS: dict[str, Term] = {
    "kl": Term(distillation_kl),
    "logit_mse": Term(untempered(logit_mse)),
    "cwd": Term(channel_wise_distillation, unit="images"),
    "dist_inter": Term(
        dist_inter,
        least_channels=3,
        instead="over fewer classes every correlation is +1 or -1; use dist_intra or kl",
    ),
    "dist_intra": Term(dist_intra, unit="images"),
    "feature": Term(untempered(feature_matching), compares="features"),
}
"""name -> term; the name is that of its weight and of its column in every log"""


def find_term(name: str) -> Term:
    """The term of this name. Errors: SnowmeltError with the nearest name, or all of them."""
    if name in DISTILLATION_TERMS:
        return DISTILLATION_TERMS[name]
    close = difflib.get_close_matches(name, DISTILLATION_TERMS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known terms: {', '.join(DISTILLATION_TERMS)}"
    raise SnowmeltError(f"unknown distillation term {name!r}; {hint}", code="loss-unknown")
