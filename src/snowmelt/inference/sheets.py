"""How a picture is shown to a network, whole or in tiles, and how the answers are put together again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from snowmelt.data import PAD_COLOUR, resize_image
from snowmelt.inference.answers import Answer
from snowmelt.inference.windows import Window, cover

Shape = tuple[int, int]  # (height, width)


@dataclass(frozen=True)
class Piece:
    """What a network is shown at once: (3, h, w) uint8. ``rows`` and ``columns`` say where a tile lies."""

    pixels: Tensor
    mirrored: bool = False
    rows: Window | None = None
    columns: Window | None = None


class Sheet(Protocol):
    """One picture on its way: its pieces in order, whose answers come back in the same order."""

    answer: Answer

    def pieces(self) -> Iterator[Piece]: ...

    def add(self, piece: Piece, values: Tensor) -> None:
        """(K, h, w) float32 probabilities about a piece."""
        ...

    @property
    def finished(self) -> bool: ...


class Fit(Protocol):
    """A way of showing pictures."""

    def sheet(self, image: np.ndarray, channels: int, *, flip: bool, keep: bool) -> Sheet:
        """Of an (H, W, 3) uint8 picture; ``flip``: show it mirrored, too, and average; ``keep``: as for ``Answer``."""
        ...


@dataclass(frozen=True)
class Whole:
    """The whole picture, enlarged or reduced to fit into ``canvas``, as validation shows it.

    It lies at the top left; what it does not fill is ``PAD_COLOUR``, and what is answered there is thrown away.
    """

    canvas: Shape

    def sheet(self, image: np.ndarray, channels: int, *, flip: bool, keep: bool) -> Sheet:
        height, width = image.shape[:2]
        scale = min(self.canvas[0] / height, self.canvas[1] / width)
        fitted = (max(1, round(height * scale)), max(1, round(width * scale)))
        return _WholeSheet(image, fitted, self.canvas, channels, flip, keep)


@dataclass(frozen=True)
class Native:
    """The whole picture in its own size, padded to sides that ``stride`` divides. Memory grows with the picture."""

    stride: int = 32

    def sheet(self, image: np.ndarray, channels: int, *, flip: bool, keep: bool) -> Sheet:
        height, width = image.shape[:2]
        canvas = (-(-height // self.stride) * self.stride, -(-width // self.stride) * self.stride)
        return _WholeSheet(image, (height, width), canvas, channels, flip, keep)


@dataclass(frozen=True)
class Tiles:
    """The picture in its own size, in tiles that overlap by a share of their side; small ones are padded to a tile."""

    size: Shape
    overlap: float = 0.25

    def sheet(self, image: np.ndarray, channels: int, *, flip: bool, keep: bool) -> Sheet:
        return _TiledSheet(image, self.size, self.overlap, channels, flip, keep)


class _WholeSheet:
    def __init__(self, image: np.ndarray, fitted: Shape, canvas: Shape, channels: int, flip: bool, keep: bool) -> None:
        self.answer = Answer((image.shape[0], image.shape[1]), channels, keep)
        self._image, self._fitted, self._canvas = image, fitted, canvas
        self._left = 2 if flip else 1
        self._share = 1 / self._left
        self._total: Tensor | None = None

    def pieces(self) -> Iterator[Piece]:
        resized = resize_image(torch.from_numpy(self._image).permute(2, 0, 1), self._fitted)
        yield Piece(_padded(resized, self._canvas))
        if self._share < 1:  # the picture is mirrored and not its canvas: padding stays where training puts it
            yield Piece(_padded(resized.flip(2), self._canvas), mirrored=True)

    def add(self, piece: Piece, values: Tensor) -> None:
        inside = values[:, : self._fitted[0], : self._fitted[1]]
        inside = (inside.flip(2) if piece.mirrored else inside) * self._share
        self._total = inside if self._total is None else self._total + inside
        self._left -= 1
        if self.finished:
            self.answer.fill(self._total)
            self._total = None

    @property
    def finished(self) -> bool:
        return self._left == 0


class _TiledSheet:
    """Tiles go row by row, and so does the mask: only one row of tiles is held as probabilities."""

    def __init__(self, image: np.ndarray, size: Shape, overlap: float, channels: int, flip: bool, keep: bool) -> None:
        self.answer = Answer((image.shape[0], image.shape[1]), channels, keep)
        self._image, self._size, self._flip = image, size, flip
        self._rows = cover(image.shape[0], size[0], overlap)
        self._columns = cover(image.shape[1], size[1], overlap)
        self._left = len(self._rows) * len(self._columns) * (2 if flip else 1)
        self._top = 0
        self._band = torch.zeros((channels, self._rows[0].stop, image.shape[1]))

    def pieces(self) -> Iterator[Piece]:
        picture = torch.from_numpy(self._image).permute(2, 0, 1)
        ways = [(picture, False), (picture.flip(2), True)] if self._flip else [(picture, False)]
        for rows in self._rows:
            for columns in self._columns:
                for pixels, mirrored in ways:
                    part = pixels[:, rows.start : rows.stop, columns.start : columns.stop]
                    yield Piece(_padded(part, self._size), mirrored, rows, columns)

    def add(self, piece: Piece, values: Tensor) -> None:
        assert piece.rows is not None and piece.columns is not None
        rows, columns = piece.rows, piece.columns
        height, width = len(rows.weights), len(columns.weights)
        part = values[:, :height, :width] * (rows.weights[:, None] * columns.weights)
        left = columns.start
        if piece.mirrored:
            part, left = part.flip(2), self._image.shape[1] - columns.stop
        self._advance(rows.start)
        self._band[:, :height, left : left + width] += part * 0.5 if self._flip else part
        self._left -= 1
        if self.finished:
            self.answer.put_rows(self._top, self._band)
            self._band = self._band[:, :0]

    def _advance(self, top: int) -> None:
        """Hand over the rows above ``top``, to which no further tile adds anything."""
        done = top - self._top
        if done:
            self.answer.put_rows(self._top, self._band[:, :done])
            self._band = torch.cat([self._band[:, done:], torch.zeros_like(self._band[:, :done])], dim=1)
            self._top = top

    @property
    def finished(self) -> bool:
        return self._left == 0


def _padded(pixels: Tensor, canvas: Shape) -> Tensor:
    """(3, *canvas) uint8 with (3, h, w) at its top left."""
    if tuple(pixels.shape[1:]) == canvas:
        return pixels
    sheet = torch.empty((3, *canvas), dtype=torch.uint8)
    for plane, value in zip(sheet, PAD_COLOUR, strict=True):
        plane.fill_(value)
    sheet[:, : pixels.shape[1], : pixels.shape[2]] = pixels
    return sheet
