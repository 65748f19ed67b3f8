"""Which encoding to take: the smallest whose measured effect on the distillation loss does not matter.

The effect is measured on the user's own pictures and teacher, without a student: what the stored answer t' loses of the
exact one t is T^2 KL(t / T || t' / T), the value that the distillation term would have for a student that has learned
t' perfectly. It grows with the temperature, and from data set to data set, as the term itself does; so it is compared
with T^2 KL(t / T || the mean of t / T), which is all that there is to learn: the value for the best student that
answers the same for every pixel. The quotient, ``share``, is steady over temperatures.

Measured with EfficientNet-B4 UNets on 48 validation pictures of CCP, uint8, worst temperature of 1, 2 and 4:

| | stride 1 | stride 2 | stride 4 | stride 8 |
|---|---|---|---|---|
| person, 1 channel, 160 pixels | 0.001 % | 0.28 % | 1.8 % | 7.9 % |
| parts, 7 channels, 128 pixels | 0.003 % | 0.54 % | 2.8 % | 11 % |

float16 differs from uint8 by less than 0.01 points. For comparison: a MobileNetV2 taught for 24 epochs still had 2.5 %
of person before it, and when a picture is mirrored the teachers' answers themselves change by 2.0 to 2.5 % (person)
and 4.3 to 5.5 % (parts). Hence ``TOLERANCE``: well below both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.encoding import PRECISIONS, STRIDES, Encoding, Precision
from snowmelt.teachers.cache.resampling import enlarge

TOLERANCE = 0.01
"""Largest ``Effect.share`` that is good enough; see the head of this file."""

MANY_CHANNELS = 16
"""Above this many, keeping only the largest classes of each pixel is tried."""
_TOPS = (4, 8, 16)

_LEAST_TO_LEARN = 1e-4  # nats; of a teacher that answers the same everywhere, so that no rounding is divided by 0


@dataclass(frozen=True)
class Effect:
    """What an encoding costs, in bytes and in truth.

    Args:
        bytes: of one picture.
        kl: T^2 KL(exact || stored), nats, mean over the pictures' pixels, at the temperature with the largest share.
        share: ``kl`` of what there is to learn.
        total_variation: mean over pixels of half the summed differences of the probabilities, at temperature 1.
    """

    encoding: Encoding
    bytes: int
    kl: float
    share: float
    total_variation: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "encoding": self.encoding.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Effect:
        numbers = {name: float(values[name]) for name in ("kl", "share", "total_variation")}
        return cls(Encoding.from_json(values["encoding"]), int(values["bytes"]), **numbers)


def candidates(
    channels: int, size: int, precision: Precision | None = None, stride: int | None = None
) -> list[Encoding]:
    """The encodings worth a try; ``precision`` and ``stride`` fix what the user has chosen.

    Raises ``SnowmeltError`` for a stride that does not divide the size.
    """
    precisions = PRECISIONS if precision is None else (precision,)
    strides = [each for each in STRIDES if size % each == 0] if stride is None else [stride]
    tops = [None, *(top for top in _TOPS if channels > MANY_CHANNELS and top < channels)]
    return [Encoding(each, step, top, channels, size) for each in precisions for step in strides for top in tops]


def measure(
    encodings: Sequence[Encoding],
    logits: Tensor,
    filled: Sequence[tuple[int, int]],
    temperatures: Sequence[float],
) -> list[Effect]:
    """The effect of each encoding on a few of the teacher's answers.

    Args:
        logits: (P, C, N, N) floating, exact answers to clean pictures; a dozen pictures tell enough.
        filled: (h, w) of each picture within its square.
        temperatures: the schedule's highest and lowest.

    Raises:
        SnowmeltError: no picture, no temperature, or logits that cannot be encoded.
    """
    if len(logits) == 0 or len(filled) != len(logits) or not temperatures or min(temperatures) <= 0:
        raise SnowmeltError(
            f"{len(logits)} probe pictures, {len(filled)} sizes, temperatures {list(temperatures)}: "
            "the effect of a cache needs at least one picture with its size and one positive temperature",
            code="call-incomplete",
        )
    whole = [_Tally() for _ in temperatures]
    losses = [[_Tally() for _ in temperatures] for _ in encodings]
    variations = [_Tally() for _ in encodings]
    for each, size in zip(logits, filled, strict=True):  # one by one: with many classes all at once are gigabytes
        exact = each.detach().float()
        pixels = _pixels(exact, size)
        for tally, temperature in zip(whole, temperatures, strict=True):
            tally.add(F.softmax(pixels / temperature, dim=1), _negentropy(pixels / temperature))
        for number, encoding in enumerate(encodings):
            stored = _pixels(_round_trip(encoding, exact, size), size)
            for tally, temperature in zip(losses[number], temperatures, strict=True):
                tally.add(_kl(pixels / temperature, stored / temperature))
            variations[number].add(0.5 * (F.softmax(pixels, dim=1) - F.softmax(stored, dim=1)).abs().sum(dim=1))
    to_learn = [max(_information(tally), _LEAST_TO_LEARN) for tally in whole]
    return [
        _effect(
            encoding,
            [max(0.0, float(tally.mean()[0])) for tally in tallies],
            float(variation.mean()[0]),
            to_learn,
            temperatures,
        )
        for encoding, tallies, variation in zip(encodings, losses, variations, strict=True)
    ]


def choose(effects: Sequence[Effect], tolerance: float = TOLERANCE, say: Callable[[str], None] | None = None) -> Effect:
    """The smallest in bytes whose share is within ``tolerance``; of equally small ones the most exact.

    Where none is, the most exact one, and ``say`` gets a line about it. Raises ``SnowmeltError`` for no effects at all.
    """
    if not effects:
        raise SnowmeltError(
            "no encoding to choose from; set teacher.cache_precision and teacher.cache_stride to auto",
            code="call-incomplete",
        )
    good = [effect for effect in effects if effect.share <= tolerance]
    if good:
        return min(good, key=lambda effect: (effect.bytes, effect.share))
    best = min(effects, key=lambda effect: (effect.share, effect.bytes))
    if say is not None:
        say(
            f"warning: no encoding of the teacher cache loses less than {tolerance:.2g} of what there is to learn; "
            f"the most exact one is taken ({best.encoding.key}: {best.share:.2g}), and teacher.mode=live loses nothing"
        )
    return best


class _Tally:
    """Means over the pixels of all pictures, in double precision."""

    def __init__(self) -> None:
        self.sums: list[Tensor] = []
        self.pixels = 0

    def add(self, *values: Tensor) -> None:
        sums = [each.double().sum(dim=0) for each in values]
        self.sums = [old + new for old, new in zip(self.sums, sums, strict=True)] if self.sums else sums
        self.pixels += len(values[0])

    def mean(self) -> list[Tensor]:
        return [each / self.pixels for each in self.sums]


def _effect(
    encoding: Encoding, losses: list[float], variation: float, to_learn: list[float], temperatures: Sequence[float]
) -> Effect:
    shares = [loss / whole for loss, whole in zip(losses, to_learn, strict=True)]
    worst = max(range(len(shares)), key=shares.__getitem__)
    kl = losses[worst] * temperatures[worst] ** 2
    return Effect(encoding, encoding.row_bytes, kl, shares[worst], variation)


def _information(tally: _Tally) -> float:
    """Mean KL(pixel's distribution || mean distribution), from the mean distribution and the mean negentropy."""
    distribution, negentropy = tally.mean()
    return float(negentropy - torch.special.xlogy(distribution, distribution).sum())


def _round_trip(encoding: Encoding, logits: Tensor, filled: tuple[int, int]) -> Tensor:
    planes = encoding.split(encoding.encode(logits, filled))
    coarse = encoding.decode(tuple(torch.from_numpy(plane)[None] for plane in planes))
    return enlarge(coarse, encoding.size)[0].to(logits.device)


def _pixels(logits: Tensor, filled: tuple[int, int]) -> Tensor:
    """(C, N, N) to (pixels, C), the picture's own; one channel z becomes the two (0, z), which say the same."""
    inside = logits[:, : filled[0], : filled[1]].flatten(1).T
    return torch.cat([torch.zeros_like(inside), inside], dim=1) if inside.shape[1] == 1 else inside


def _negentropy(logits: Tensor) -> Tensor:
    logarithms = F.log_softmax(logits, dim=1)
    return (logarithms.exp() * logarithms).sum(dim=1)  # (pixels,)


def _kl(exact: Tensor, stored: Tensor) -> Tensor:
    logarithms = F.log_softmax(exact, dim=1)
    return (logarithms.exp() * (logarithms - F.log_softmax(stored, dim=1))).sum(dim=1)  # (pixels,)
