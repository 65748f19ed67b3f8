"""One file of a teacher's stored answers: reading it within limits, and what the numbers in it mean."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from snowmelt.data.images import MAX_PIXELS, read_labels
from snowmelt.data.labels import MAX_CLASSES
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.outputs import OutputKind, probability_logit, say_outputs, to_logits

ARRAY, PICTURE = ".npy", ".png"
HARD_CONFIDENCE = 0.99
"""How sure a stored label counts as: a label alone knows no doubt, and infinite logits teach nothing."""
_FLOAT_BYTES = (2, 4, 8)
_GREY_STEP = 1 / 255


@dataclass(frozen=True)
class FloatMaps:
    """NPY files of logits or probabilities: (K, H, W), (H, W, K) with ``channels_last``, or (H, W) of one channel."""

    kind: OutputKind
    channels: int
    channels_last: bool = False

    def decode(self, path: Path) -> Tensor:
        """(K, H, W) float32 logits."""
        values = read_array(path)
        if values.dtype.kind != "f":
            raise SnowmeltError(
                f"{path}: holds {values.dtype}, but other maps of the folder hold floats; mend it", code="teacher-map"
            )
        if values.ndim == 2:
            values = values[None]
        elif self.channels_last:
            values = values.transpose(2, 0, 1)
        if len(values) != self.channels:
            raise SnowmeltError(
                f"{path}: has {len(values)} channels, but other maps have {self.channels}; mend it", code="teacher-map"
            )
        logits = to_logits(torch.from_numpy(np.array(values, order="C")), self.kind, str(path))
        if not bool(torch.isfinite(logits).all()):
            raise SnowmeltError(f"{path}: holds NaN or infinite values; make it again", code="numbers-not-finite")
        return logits

    def describe(self) -> str:
        return f"NPY of {self.channels} channel{'s' if self.channels > 1 else ''}; {say_outputs(self.kind)}"


@dataclass(frozen=True)
class LabelMaps:
    """Class ids, as PNG or integer NPY. 255 is unknown, or with ``white`` it is class 1 of two."""

    count: int
    white: bool = False

    def decode(self, path: Path) -> Tensor:
        """(K, H, W) float32 logits, K = 1 for two classes; ``HARD_CONFIDENCE`` for the named class, the rest is shared
        evenly by the others; zeros, which favour no class, where the label is unknown."""
        labels, bilevel = read_ids(path)
        allowed = (0, IGNORE_INDEX) if self.white and not bilevel else (*range(self.count), IGNORE_INDEX)
        strange = np.setdiff1d(labels, np.array(allowed))
        if strange.size:
            meaning = "0 or 255" if self.white and not bilevel else f"0 to {self.count - 1} (255: unknown)"
            hint = "; if these are grey levels, set teacher.outputs: probabilities" if self.count == 2 else ""
            raise SnowmeltError(
                f"{path}: holds the id {strange[0]}, but the ids must be {meaning}; mend it{hint}", code="teacher-map"
            )
        table = _label_logits(self.count)
        if self.white and not bilevel:
            labels = (labels == IGNORE_INDEX).astype(np.uint8)
        return table[torch.from_numpy(labels.astype(np.int64))].permute(2, 0, 1).contiguous()

    def describe(self) -> str:
        return f"labels of {self.count} classes; outputs: labels, taken as {HARD_CONFIDENCE:.0%} sure"


@dataclass(frozen=True)
class GreyMaps:
    """8-bit grey PNG files: the probability of class 1 of two, 255 being 1."""

    def decode(self, path: Path) -> Tensor:
        """(1, H, W) float32 logits, within +-6.2: black and white are half a grey level away from certainty."""
        levels, bilevel = read_labels(path)
        if levels.dtype != np.uint8:
            raise SnowmeltError(
                f"{path}: has 16 bits; probabilities must be 8-bit grey, or floats in NPY files", code="teacher-map"
            )
        scale = 1.0 if bilevel else _GREY_STEP
        return probability_logit(torch.from_numpy(levels)[None].double() * scale, _GREY_STEP / 2)

    def describe(self) -> str:
        return "grey PNG; outputs: probabilities of class 1"


MapFormat = FloatMaps | LabelMaps | GreyMaps


def read_array(path: Path) -> np.ndarray:
    """An NPY file as a read-only view on the disk: (H, W) integers, (H, W) or three-dimensional floats.

    Sizes are checked before any data is read; a batch dimension of 1 is taken away, and for integers one of channels.
    Errors: SnowmeltError for a damaged file, pickled objects, other types and shapes, too many pixels or channels.
    """
    try:
        # np.load would look into archives and pickles, too.
        array: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # a damaged header is parsed as Python's literals are, with all that can go wrong there
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise SnowmeltError(
            f"{path}: cannot be read as an NPY array ({reason}); make it again", code="teacher-map"
        ) from error
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    whole = array.dtype.kind in "iub"
    if whole and array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    floats = array.dtype.kind == "f" and array.dtype.itemsize in _FLOAT_BYTES
    if not ((whole and array.ndim == 2) or (floats and array.ndim in (2, 3))):
        raise SnowmeltError(
            f"{path}: holds {array.dtype} of shape {array.shape}; give floats (K, H, W) or (H, W), or class ids (H, W)",
            code="teacher-map",
        )
    sides = sorted(array.shape)[-2:]
    if array.size == 0 or math.prod(sides) > MAX_PIXELS or (array.ndim == 3 and min(array.shape) > MAX_CLASSES):
        raise SnowmeltError(
            f"{path}: has the shape {array.shape}, which is no map of a picture; make it again", code="teacher-map"
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def read_ids(path: Path) -> tuple[np.ndarray, bool]:
    """(H, W) integers of a label map, and whether the file is bilevel (0 and 1).

    Errors: SnowmeltError as ``read_array`` and ``read_labels`` give it.
    """
    if path.suffix.lower() == PICTURE:
        return read_labels(path)
    array = read_array(path)
    if array.dtype.kind not in "iub":
        raise SnowmeltError(
            f"{path}: holds {array.dtype}, but other maps of the folder hold class ids; mend it", code="teacher-map"
        )
    return np.asarray(array), array.dtype.kind == "b"


@lru_cache(maxsize=4)
def _label_logits(count: int) -> Tensor:
    """(256, K) logits of each id."""
    sure = math.log(HARD_CONFIDENCE)
    if count == 2:
        table = torch.zeros(256, 1)
        table[:2, 0] = torch.tensor([-1.0, 1.0]) * (sure - math.log(1 - HARD_CONFIDENCE))
        return table
    table = torch.full((256, count), math.log((1 - HARD_CONFIDENCE) / (count - 1)))
    table[torch.arange(count), torch.arange(count)] = sure
    table[IGNORE_INDEX] = 0.0
    return table
