"""Pictures side by side with their titles, and a legend that wraps below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK, PAPER = (20, 20, 20), (255, 255, 255)
TEXT, GAP, SWATCH = 16, 8, 14


class Tile(NamedTuple):
    title: str
    picture: np.ndarray  # (H, W, 3) uint8


def stack_row(tiles: Sequence[Tile], legend: Sequence[tuple[str, np.ndarray]], caption: str = "") -> np.ndarray:
    """Tiles of one height in a row, each under its title; swatches with names below; (H, W, 3) uint8.

    Args:
        legend: name and swatch (h, w, 3) uint8 of each entry; a swatch of one pixel is a plain colour.
    """
    font = ImageFont.load_default(size=TEXT)  # comes with Pillow, so the same on every machine
    line = TEXT + GAP
    columns = [max(tile.picture.shape[1], _width(font, tile.title)) for tile in tiles]
    width = sum(columns) + GAP * (len(tiles) + 1)
    caption = _shortened(font, caption, width - 2 * GAP)
    entries, lines = _flow(font, [name for name, _ in legend], width)

    top = GAP + (line if caption else 0)
    below = top + line + max(tile.picture.shape[0] for tile in tiles) + GAP
    sheet = Image.new("RGB", (width, below + lines * line), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((GAP, GAP), caption, font=font, fill=INK)
    left = GAP
    for tile, column in zip(tiles, columns, strict=True):
        pen.text((left, top), tile.title, font=font, fill=INK)
        sheet.paste(Image.fromarray(tile.picture), (left, top + line))
        left += column + GAP
    for (x, row, name), (_, swatch) in zip(entries, legend, strict=True):
        _draw_entry(sheet, (x, below + row * line), name, swatch)
    return np.asarray(sheet)


def stack_list(legend: Sequence[tuple[str, np.ndarray]], most: int = 32) -> np.ndarray:
    """A legend by itself, (H, W, 3) uint8: one entry below the other, in further columns after ``most`` rows.

    Args:
        legend: as for ``stack_row``.
    """
    font, line = ImageFont.load_default(size=TEXT), TEXT + GAP
    columns = [legend[first : first + most] for first in range(0, len(legend), most)]
    widths = [2 * GAP + SWATCH + GAP // 2 + max(_width(font, name) for name, _ in column) for column in columns]
    rows = min(most, len(legend))
    sheet = Image.new("RGB", (sum(widths) + GAP, rows * line + GAP), PAPER)
    left = GAP
    for column, width in zip(columns, widths, strict=True):
        for row, (name, swatch) in enumerate(column):
            _draw_entry(sheet, (left, GAP + row * line), name, swatch)
        left += width
    return np.asarray(sheet)


def _draw_entry(sheet: Image.Image, place: tuple[int, int], name: str, swatch: np.ndarray) -> None:
    pen, (x, y) = ImageDraw.Draw(sheet), place
    sample = np.broadcast_to(swatch, (SWATCH, SWATCH, 3)) if swatch.shape[:2] == (1, 1) else swatch
    sheet.paste(Image.fromarray(np.ascontiguousarray(sample)).resize((SWATCH, SWATCH)), (x, y + 2))
    pen.rectangle((x, y + 2, x + SWATCH - 1, y + 1 + SWATCH), outline=INK)
    pen.text((x + SWATCH + GAP // 2, y), name, font=ImageFont.load_default(size=TEXT), fill=INK)


Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def _width(font: Font, text: str) -> int:
    return int(np.ceil(font.getlength(text)))


def _shortened(font: Font, text: str, width: int) -> str:
    if _width(font, text) <= width:
        return text
    while text and _width(font, text + "...") > width:
        text = text[:-1]
    return text + "..." if text else ""


def _flow(font: Font, names: Sequence[str], width: int) -> tuple[list[tuple[int, int, str]], int]:
    """Left edge, line and printed name of each legend entry, and the number of lines."""
    places, x, row = [], GAP, 0
    for name in names:
        name = _shortened(font, name, width - 3 * GAP - SWATCH)
        needed = SWATCH + GAP // 2 + _width(font, name)
        if x > GAP and x + needed + GAP > width:
            x, row = GAP, row + 1
        places.append((x, row, name))
        x += needed + 2 * GAP
    return places, row + 1
