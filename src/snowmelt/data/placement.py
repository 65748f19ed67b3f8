"""Cutting a training item out of a picture: what part of it is needed is known before anything is resized.

torch resizes uint8 at several pixels a nanosecond, but only from a whole pixel on. So a crop begins where a whole
source pixel and a whole output pixel meet, which is at most one of either beside where it was drawn, and from there on
the map between the two is exact: no step of it rounds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from snowmelt.data.geometry import Affine, Placement, Shape, fitted_size
from snowmelt.data.samples import IGNORE_INDEX

PAD_COLOUR = (124, 116, 104)  # the ImageNet mean: about zero once normalised
_MARGIN = 2  # pixels around what a rotation reads, so that it never meets the edge of its region


@dataclass(frozen=True)
class Stretch:
    """One axis: output pixels ``place`` to ``place + length`` show source pixels, ``step`` of them for each.

    ``start`` to ``stop`` are the source pixels to read. Resized, they begin ``skipped`` output pixels too early: the
    first that is kept finds its neighbours there.
    """

    start: int
    stop: int
    step: float
    skipped: int
    place: int
    length: int

    @property
    def offset(self) -> float:
        """Source position of the output position 0."""
        return self.start + (self.skipped - self.place) * self.step

    def nearest(self, positions: int) -> np.ndarray:
        """(length,) int64: under the centre of each output pixel the source pixel, of so many."""
        centres = self.offset + (np.arange(self.place, self.place + self.length) + 0.5) * self.step
        return centres.astype(np.int64).clip(0, positions - 1)


def cut(pixels: int, scaled: int, size: int, share: float) -> Stretch:
    """One axis of a picture of ``pixels``, scaled to ``scaled``, behind a window of ``size`` or in front of it.

    ``share``, from 0 up to 1, chooses the place among all that there are.
    """
    step = pixels / scaled
    if scaled <= size:
        return Stretch(0, pixels, step, 0, int(share * (size - scaled + 1)), scaled)
    reach = max(1.0, step)  # of the filter, in source pixels to either side
    first = share * (pixels - size * step)
    skipped = math.ceil(reach / step - 0.5)
    start = math.floor(first - skipped * step)
    if start <= 0:  # where the picture ends there are no neighbours to find
        start, skipped = 0, math.floor(first / step)
    stop = math.ceil(start + (skipped + size - 0.5) * step + reach) + 1
    return Stretch(start, min(pixels, stop), step, skipped, 0, size)


@dataclass(frozen=True)
class Drawn:
    """An item's random geometry. ``shares``: where the crop lies along height and width, from 0 up to 1."""

    flip: bool = False
    scale: float = 1.0  # long side of the scaled picture as a multiple of the output's side
    degrees: float = 0.0  # counter-clockwise as one sees it
    shares: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Placed:
    """(3, N, N) uint8 image and (N, N) uint8 mask, contiguous, and where they come from."""

    image: torch.Tensor
    mask: torch.Tensor
    placement: Placement


def place(image: np.ndarray, mask: np.ndarray, origin: Shape, size: int, drawn: Drawn) -> Placed:
    """The (size, size) item that was drawn, out of (H, W, 3) and (H, W); ``origin`` is as for ``Placement``.

    The picture is scaled, rotated about its centre on a canvas that grows with it, cropped (or padded, where it is
    smaller) and flipped. Masks are read under the centre of each pixel.
    """
    scaled = fitted_size(*origin, size * drawn.scale)
    if drawn.degrees:
        return _rotated(image, mask, origin, size, scaled, drawn)
    shape = mask.shape
    rows = cut(shape[0], scaled[0], size, drawn.shares[0])
    columns = cut(shape[1], scaled[1], size, drawn.shares[1])
    resized = resize_region(image, rows, columns)
    labels = mask.take(rows.nearest(shape[0]), axis=0)
    nearest = columns.nearest(shape[1])
    affine: Affine = (columns.step, 0.0, columns.offset, 0.0, rows.step, rows.offset)
    left = columns.place
    if drawn.flip:
        left = size - columns.place - columns.length
        nearest = nearest[::-1]
        resized = resized.flip(2)
        affine = _flipped(affine, size)
    labels = labels.take(nearest, axis=1)
    placement = Placement(affine, size, (shape[0], shape[1]), origin)
    if resized.shape == (3, size, size):
        return Placed(resized.contiguous(), torch.from_numpy(labels), placement)
    canvas, marks = blank(size)
    bottom, right = rows.place + rows.length, left + columns.length
    canvas[:, rows.place : bottom, left:right] = resized
    marks[rows.place : bottom, left:right] = torch.from_numpy(labels)
    return Placed(canvas, marks, placement)


def blank(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image and a mask that are all padding."""
    canvas = torch.empty((3, size, size), dtype=torch.uint8)
    for plane, value in zip(canvas, PAD_COLOUR, strict=True):
        plane.fill_(value)
    return canvas, torch.full((size, size), IGNORE_INDEX, dtype=torch.uint8)


def resize_region(image: np.ndarray, rows: Stretch, columns: Stretch) -> torch.Tensor:
    """(3, rows.length, columns.length) uint8, antialiased bilinear, out of (H, W, 3).

    The scales are given to the kernel and not left to the two sizes, which a region does not state exactly.
    """
    height, width = rows.skipped + rows.length, columns.skipped + columns.length
    more = (_one_more(rows, height), _one_more(columns, width))
    # A copy also where nothing is cut off: stored pictures may not be written to, and torch warns of such memory.
    region = np.array(image[rows.start : rows.stop + more[0], columns.start : columns.stop + more[1]])
    lacking = (
        rows.stop - rows.start + more[0] - region.shape[0],
        columns.stop - columns.start + more[1] - region.shape[1],
    )
    if any(lacking):
        region = np.pad(region, [(0, lacking[0]), (0, lacking[1]), (0, 0)], mode="edge")
    pixels = torch.from_numpy(region).permute(2, 0, 1)
    if (rows.step, columns.step) != (1.0, 1.0):
        pixels = torch.ops.aten._upsample_bilinear2d_aa(
            pixels[None], [height, width], False, 1 / rows.step, 1 / columns.step
        )[0]
    return pixels[:, rows.skipped : height, columns.skipped : width]


def _one_more(stretch: Stretch, length: int) -> int:
    """1 where the kernel would take equal sizes for a scale of 1, whatever scale it is told."""
    return int(stretch.step != 1.0 and stretch.stop - stretch.start == length)


def _rotated(image: np.ndarray, mask: np.ndarray, origin: Shape, size: int, scaled: Shape, drawn: Drawn) -> Placed:
    height, width = mask.shape
    affine = rotation(drawn.degrees, scaled, size, drawn.shares)
    across, down = width / scaled[1], height / scaled[0]
    a, b, c, d, e, f = affine
    affine = (a * across, b * across, c * across, d * down, e * down, f * down)
    if drawn.flip:
        affine = _flipped(affine, size)
    a, b, c, d, e, f = affine
    centres = np.arange(size) + 0.5
    x = a * centres + c + (b * centres)[:, None]  # (N, N), in pixels of the picture
    y = d * centres + f + (e * centres)[:, None]
    inside = torch.from_numpy((x >= 0) & (x < width) & (y >= 0) & (y < height))
    columns, rows = _covering(x, width, across), _covering(y, height, down)
    region = resize_region(image, rows, columns).float()
    # To normalised points of the region; what lies outside of the picture is read at its edge, and painted over.
    grid = torch.from_numpy(
        np.stack(
            [
                (x - columns.start) / (columns.step * columns.length) * 2 - 1,
                (y - rows.start) / (rows.step * rows.length) * 2 - 1,
            ],
            axis=2,
        ).astype(np.float32)
    )
    turned = grid_sample(region[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
    canvas, marks = blank(size)
    nearest = np.clip(y, 0, height - 1).astype(np.int64), np.clip(x, 0, width - 1).astype(np.int64)
    return Placed(
        torch.where(inside, turned.round_().clamp_(0, 255).to(torch.uint8), canvas),
        torch.where(inside, torch.from_numpy(mask[nearest]), marks),
        Placement(affine, size, (height, width), origin),
    )


def rotation(degrees: float, scaled: Shape, size: int, shares: tuple[float, float]) -> Affine:
    """From the output's points to those of the scaled picture, which turns in the middle of a canvas that holds it."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    height, width = scaled
    canvas = (
        math.ceil(abs(cosine) * height + abs(sine) * width),
        math.ceil(abs(cosine) * width + abs(sine) * height),
    )
    top, left = (_shift(side, size, share) for side, share in zip(canvas, shares, strict=True))
    middle_x, middle_y = canvas[1] / 2 - left, canvas[0] / 2 - top
    return (
        cosine,
        -sine,
        width / 2 - cosine * middle_x + sine * middle_y,
        sine,
        cosine,
        height / 2 - sine * middle_x - cosine * middle_y,
    )


def _shift(side: int, size: int, share: float) -> int:
    """Position on a canvas of ``side`` at which the output begins; before it, where the canvas is smaller."""
    places = int(share * (abs(side - size) + 1))
    return places if side > size else -places


def _covering(positions: np.ndarray, pixels: int, step: float) -> Stretch:
    """What of an axis has to be resized so that all the positions (in source pixels) can be read from it."""
    reach = max(1.0, step) * _MARGIN
    start = min(max(0, math.floor(positions.min() - reach)), pixels - 1)
    stop = min(pixels, max(start + 1, math.ceil(positions.max() + reach)))
    return Stretch(start, stop, step, 0, 0, math.ceil((stop - start) / step - 1e-6))


def _flipped(affine: Affine, size: int) -> Affine:
    a, b, c, d, e, f = affine
    return (-a, b, c + a * size, -d, e, f + d * size)
