"""How a teacher's answer to one picture is packed into a row of bytes, and unpacked again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.resampling import replicate_edges, shrink

Precision = Literal["float16", "uint8"]
PRECISIONS: tuple[Precision, ...] = ("uint8", "float16")
STRIDES = (1, 2, 4, 8)

DEPTH = 64.0
"""How far below its pixel's largest logit a stored one may lie. Trained networks stay above -30, so this binds only
outliers, which would else coarsen the steps of a whole picture. At temperature T a class at this depth has a share
below exp(-64 / T): 3e-6 at T = 5, 3e-4 at T = 8."""

_MOST_CHANNELS = 256  # a top-k index is one byte; masks hold no more classes than that
_HALF_RANGE = 60000.0  # float16 ends at 65504
_LEVELS = 255


class Plane(NamedTuple):
    """One array of a row."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Encoding:
    """One way to store logits of ``channels`` classes on a square of ``size`` pixels.

    Args:
        precision: bytes per value. ``uint8`` is linear between the extremes of the picture; of several channels it
            stores the pixel's largest logit and, apart, how far the others lie below it (down to ``DEPTH``), so that
            the step is small where a softmax looks and losses that see the level itself still get it.
        stride: pixels per stored value along each side, see ``resampling.shrink``.
        top: keep the k largest classes of each pixel with their indices; the others share evenly what is left of
            the probability. None keeps all.

    Raises:
        SnowmeltError: a value that is not possible, or a stride that does not divide the size.
    """

    precision: Precision
    stride: int
    top: int | None
    channels: int
    size: int

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise SnowmeltError(
                f"cache precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}", code="settings-value"
            )
        if self.stride not in STRIDES:
            raise SnowmeltError(
                f"cache stride {self.stride}: choose one of {', '.join(map(str, STRIDES))}", code="settings-value"
            )
        if self.size < 1 or self.size % self.stride:
            raise SnowmeltError(
                f"cache stride {self.stride} does not divide the image size {self.size}; choose another",
                code="cache-format",
            )
        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise SnowmeltError(
                f"{self.channels} channels: a cache holds 1 to {_MOST_CHANNELS}; use teacher.mode=live",
                code="cache-format",
            )
        if self.top is not None and not 1 <= self.top < self.channels:
            raise SnowmeltError(
                f"top {self.top} of {self.channels} channels: it must be 1 to {self.channels - 1}", code="cache-format"
            )

    @property
    def key(self) -> str:
        """Short name, the same for equal encodings: ``uint8-s2-c1-n160``."""
        top = "" if self.top is None else f"-top{self.top}"
        return f"{self.precision}-s{self.stride}{top}-c{self.channels}-n{self.size}"

    @property
    def side(self) -> int:
        """Values along one side of the stored map."""
        return self.size // self.stride

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The arrays of a row in their order. Wider types come first, so that all of them are aligned."""
        values, side = self._values, (self.side, self.side)
        planes = []
        if self.precision == "uint8":
            planes.append(Plane((min(values, 2), 2), np.dtype(np.float32)))  # (minimum, step) of each range
        planes.append(Plane((values, *side), np.dtype(self.precision)))
        if self.top is not None:
            planes.append(Plane((self.top, *side), np.dtype(np.uint8)))
        return tuple(planes)

    @property
    def row_bytes(self) -> int:
        """Bytes that one picture takes."""
        return sum(plane.nbytes for plane in self.planes)

    @property
    def _values(self) -> int:
        """Values stored for each cell."""
        if self.top is not None:
            return self.top + 1  # the largest, how far the next ones lie below it, and each of the others
        return self.channels + (self.channels > 1 and self.precision == "uint8")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Encoding:
        """Raises ``KeyError``, ``TypeError`` or ``SnowmeltError`` for what ``to_json`` did not write."""
        top = values["top"]
        return cls(
            precision=values["precision"],
            stride=int(values["stride"]),
            top=None if top is None else int(top),
            channels=int(values["channels"]),
            size=int(values["size"]),
        )

    def encode(self, logits: Tensor, filled: tuple[int, int]) -> np.ndarray:
        """One picture's row.

        Args:
            logits: (C, size, size) floating, on any device.
            filled: (h, w) of the part at the top left that the picture fills; the rest is not stored.

        Returns:
            (row_bytes,) uint8.

        Raises:
            SnowmeltError: another shape, or NaN or infinity among the picture's logits.
        """
        expected = (self.channels, self.size, self.size)
        if tuple(logits.shape) != expected or not all(1 <= side <= self.size for side in filled):
            raise SnowmeltError(
                f"logits {tuple(logits.shape)} filled {filled}, but the cache holds {expected}", code="array-shape"
            )
        logits = replicate_edges(logits.detach().float(), filled)
        if not bool(torch.isfinite(logits).all()):
            raise SnowmeltError(
                "the teacher's logits hold NaN or infinity; check its weights and its precision",
                code="numbers-not-finite",
            )
        arrays = self._pack(shrink(logits, self.stride))
        row = np.concatenate([np.frombuffer(array.tobytes(), dtype=np.uint8) for array in arrays])
        assert row.nbytes == self.row_bytes
        return row

    def split(self, row: np.ndarray) -> tuple[np.ndarray, ...]:
        """The row's planes, as views. The row is contiguous uint8 and starts at an aligned address (a copy does)."""
        views, start = [], 0
        for plane in self.planes:
            views.append(row[start : start + plane.nbytes].view(plane.dtype).reshape(plane.shape))
            start += plane.nbytes
        return tuple(views)

    def decode(self, planes: tuple[Tensor, ...]) -> Tensor:
        """Collated planes, each (B, ...), to (B, C, side, side) float32 logits on their device."""
        values = _dequantise(planes[0], planes[1]) if self.precision == "uint8" else planes[0].float()
        if self.top is not None:
            level, below = values[:, :1], values[:, 1:]
            below = torch.cat([torch.zeros_like(level), below], dim=1)
            spread = below[:, -1:].expand(-1, self.channels, -1, -1).clone()
            return spread.scatter_(1, planes[-1].long(), below[:, :-1]).add_(level)
        if values.shape[1] > self.channels:
            return values[:, 1:].add_(values[:, :1])
        return values

    def _pack(self, logits: Tensor) -> list[np.ndarray]:
        """(C, side, side) float32 to the row's arrays."""
        indices: list[np.ndarray] = []
        if self.top is not None:
            values, kept = _keep_top(logits, self.top)
            indices = [kept.to(torch.uint8).cpu().numpy()]
        elif self.channels > 1 and self.precision == "uint8":
            level = logits.amax(dim=0, keepdim=True)
            values = torch.cat([level, logits - level])
        else:
            values = logits
        if self.precision == "float16":
            return [values.clamp(-_HALF_RANGE, _HALF_RANGE).half().cpu().numpy(), *indices]
        return [*_quantise(values), *indices]


def _keep_top(logits: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """(C, ...) to (top + 1, ...): largest value, distances of the next ones below it, distance of each other class.

    Also the (top, ...) indices of those kept.
    """
    kept, indices = logits.topk(top, dim=0)
    level = kept[:1]
    rest = logits.scatter(0, indices, -math.inf).logsumexp(dim=0, keepdim=True)
    each = rest - math.log(logits.shape[0] - top)
    return torch.cat([level, kept[1:] - level, each - level]), indices


def _quantise(values: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(V, ...) float32 to ((1 or 2, 2) float32 minima and steps, (V, ...) uint8).

    The first of several values is a level with a range of its own; the others lie below 0.
    """
    groups = [values] if values.shape[0] == 1 else [values[:1], values[1:].clamp(min=-DEPTH)]
    scales, codes = [], []
    for group in groups:
        lowest, highest = float(group.amin()), float(group.amax())
        step = (highest - lowest) / _LEVELS
        scales.append((lowest, step))
        code = (group - lowest).div_(step).round_() if step > 0 else torch.zeros_like(group)
        codes.append(code.clamp_(0, _LEVELS).to(torch.uint8))
    return np.array(scales, dtype=np.float32), torch.cat(codes).cpu().numpy()


def _dequantise(scales: Tensor, codes: Tensor) -> Tensor:
    """(B, 1 or 2, 2) and (B, V, h, w) to float32 values."""
    values = codes.float()
    lowest, step = scales[:, :, 0, None, None, None], scales[:, :, 1, None, None, None]  # (B, 1 or 2, 1, 1, 1)
    groups = [values] if scales.shape[1] == 1 else [values[:, :1], values[:, 1:]]
    for number, group in enumerate(groups):
        group.mul_(step[:, number]).add_(lowest[:, number])
    return values
