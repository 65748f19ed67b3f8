"""Where the pixels of an augmented picture come from: the affine map back to its source, carried along exactly.

Points are (x, y) in pixels, counted from the outer corner of the top left pixel, so its centre is (0.5, 0.5) and a
picture of width W reaches from 0 to W. Normalised, the picture reaches from -1 to 1: the convention of
``torch.nn.functional.affine_grid`` and ``grid_sample`` with ``align_corners=False``.

torchvision's own ``KeyPoints`` would not do: its flip takes pixel centres for points (W - 1 - x) where its resize takes
corners, and its rotation places the expanded canvas up to half a pixel away from where pictures come to lie.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from snowmelt.errors import SnowmeltError

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): (x, y) goes to (a x + b y + c, d x + e y + f)."""


def fitted_size(height: int, width: int, long_side: float) -> tuple[int, int]:
    """(height, width) with the long side given and the aspect kept, at least one pixel each."""
    scale = long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


class Trace(tv_tensors.TVTensor):
    """Goes through a geometric transform beside picture and mask, and then knows where their pixels came from.

    It holds no data: ``canvas``, the (height, width) of the picture now, ``origin``, that of the source, and ``affine``
    from points of the one to points of the other. torchvision hands it the very numbers drawn for the picture.
    """

    canvas: tuple[int, int]
    origin: tuple[int, int]
    affine: Affine

    @classmethod
    def start(cls, height: int, width: int) -> Trace:
        """The trace of an untouched picture."""
        return _trace((height, width), (height, width), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0))

    def before(self, canvas: tuple[int, int], step: Affine) -> Trace:
        """After one more transform, to a picture of size ``canvas``, whose points ``step`` takes to ours."""
        a, b, c, d, e, f = self.affine
        p, q, r, s, t, u = step
        affine = (a * p + b * s, a * q + b * t, a * r + b * u + c, d * p + e * s, d * q + e * t, d * r + e * u + f)
        return _trace(canvas, self.origin, affine)

    def theta(self, side: int | None = None) -> torch.Tensor:
        """(2, 3) float32 for ``affine_grid``: from the picture's normalised points to those of its source.

        ``side``: to those of a square of that many pixels, at whose top left the source lies, resized to
        ``fitted_size``. That is how ``Letterbox`` places pictures and a ``MapStore`` its maps.
        """
        (height, width), (source_height, source_width) = self.canvas, self.origin
        fitted = (1.0, 1.0)  # the share of the square that the source fills
        if side is not None:
            pixels = fitted_size(source_height, source_width, side)
            fitted = (pixels[0] / side, pixels[1] / side)
        a, b, c, d, e, f = self.affine
        across, down = fitted[1] / source_width, fitted[0] / source_height
        return torch.tensor(
            [
                [a * width * across, b * height * across, (a * width + b * height + 2 * c) * across - 1],
                [d * width * down, e * height * down, (d * width + e * height + 2 * f) * down - 1],
            ],
            dtype=torch.float32,
        )


class Rotation(v2.RandomRotation):
    """``v2.RandomRotation`` about the centre, which also rotates a ``Trace``.

    How far an expanded canvas is rounded up is known from the picture alone, which therefore has to come before the
    trace among the inputs.
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, Trace):
            if self.center is not None:
                _refuse(inpt)
            return _rotated(inpt, params["angle"], params["canvas"])
        rotated = super().transform(inpt, {"angle": params["angle"]})
        height, width = rotated.shape[-2:]
        params["canvas"] = (height, width)
        return rotated


def _trace(canvas: tuple[int, int], origin: tuple[int, int], affine: Affine) -> Trace:
    trace = torch.empty(0).as_subclass(Trace)
    trace.canvas, trace.origin, trace.affine = canvas, origin, affine
    return trace


def _rotated(trace: Trace, angle: float, canvas: tuple[int, int]) -> Trace:
    """Counter-clockwise by ``angle`` degrees as one sees it; the centres of both canvases meet."""
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    (height, width), (old_height, old_width) = canvas, trace.canvas
    shift_x = (old_width - cosine * width + sine * height) / 2
    shift_y = (old_height - sine * width - cosine * height) / 2
    return trace.before(canvas, (cosine, -sine, shift_x, sine, cosine, shift_y))


@v2.functional.register_kernel(F.horizontal_flip, Trace)
def _flip_horizontally(trace: Trace) -> Trace:
    return trace.before(trace.canvas, (-1.0, 0.0, float(trace.canvas[1]), 0.0, 1.0, 0.0))


@v2.functional.register_kernel(F.vertical_flip, Trace)
def _flip_vertically(trace: Trace) -> Trace:
    return trace.before(trace.canvas, (1.0, 0.0, 0.0, 0.0, -1.0, float(trace.canvas[0])))


@v2.functional.register_kernel(F.resize, Trace)
def _resize(trace: Trace, size: Any, **_: Any) -> Trace:
    if not isinstance(size, list | tuple) or len(size) != 2:
        _refuse(trace)
    height, width = size
    step = (trace.canvas[1] / width, 0.0, 0.0, 0.0, trace.canvas[0] / height, 0.0)
    return trace.before((height, width), step)


@v2.functional.register_kernel(F.pad, Trace)
def _pad(trace: Trace, padding: Any, **_: Any) -> Trace:
    if not isinstance(padding, list | tuple) or len(padding) != 4:
        _refuse(trace)
    left, top, right, bottom = padding
    height, width = trace.canvas
    return trace.before((height + top + bottom, width + left + right), (1.0, 0.0, -left, 0.0, 1.0, -top))


@v2.functional.register_kernel(F.crop, Trace)
def _crop(trace: Trace, top: int, left: int, height: int, width: int) -> Trace:
    return trace.before((height, width), (1.0, 0.0, left, 0.0, 1.0, top))


def _refuse(trace: Trace, *_: Any, **__: Any) -> NoReturn:
    """torchvision would pass a type without a kernel through unchanged: maps would shift against their pictures."""
    raise SnowmeltError(
        "the geometric transform has a step that stored teacher maps cannot follow; use flips, RandomScale, Letterbox, "
        "Rotation, v2.Pad with four numbers or v2.RandomCrop, or do without stored maps"
    )


for _functional in (F.affine, F.center_crop, F.elastic, F.perspective, F.resized_crop, F.rotate):
    v2.functional.register_kernel(_functional, Trace)(_refuse)
