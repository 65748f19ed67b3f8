"""What is asked for, checked before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snowmelt.errors import SnowmeltError

MASK, OVERLAY, PROBABILITIES = KINDS = ("mask", "overlay", "probabilities")
FOLDERS = {MASK: "masks", OVERLAY: "overlays", PROBABILITIES: "probabilities"}
NOTE = "prediction.json"
"""Beside those folders: what predicted, and how."""
_STRIDE = 32  # tiles have sides that every encoder's halvings divide
_USUAL_OVERLAP = 0.25

TileMode = int | Literal["auto", "off"]


@dataclass(frozen=True)
class PredictRequest:
    """``snowmelt predict``.

    Attributes:
        source: a run (folder, name, weights file) or an ONNX file.
        inputs: pictures, folders, videos; none: the validation images of the run.
        output: folder of the results; ``None``: ``predicted/`` and the name of the source.
        save: of ``KINDS``.
        tile: ``auto`` shows the whole picture at the training size, a number goes over it in tiles of so many pixels
            in its own size, ``off`` shows it in its own size at once.
        overlap: share of a tile's side that neighbours have in common; for tiles alone.
        frames: masks of a video's single frames, too.
    """

    source: str
    inputs: tuple[Path, ...] = ()
    output: Path | None = None
    save: tuple[str, ...] = (MASK, OVERLAY)
    tile: TileMode = "auto"
    overlap: float = _USUAL_OVERLAP
    flip: bool = False
    batch_size: int = 8
    weights: Literal["best", "last"] | None = None
    device: str = "auto"
    frames: bool = False
    overwrite: bool = False
    resume: bool = False


def read_save(text: str) -> tuple[str, ...]:
    """Words of ``KINDS`` between commas, each once, in a fixed order.

    Raises ``SnowmeltError`` for another word, or none.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in KINDS:
            raise SnowmeltError(f"--save {text}: {word!r} is none of {', '.join(KINDS)}", code="option-value")
    if not words:
        raise SnowmeltError(f"--save: give one or more of {', '.join(KINDS)}", code="option-value")
    return tuple(kind for kind in KINDS if kind in words)


def read_tile(text: str, overlap: float | None) -> tuple[TileMode, float]:
    """The mode, and the overlap that goes with it.

    Raises ``SnowmeltError``: a size that no network takes, another word, or an overlap without tiles.
    """
    if text in ("auto", "off"):
        if overlap is not None:
            raise SnowmeltError(
                f"--overlap {overlap} is for tiles, and --tile {text} makes none; give --tile SIZE",
                code="option-unused",
            )
        return ("auto" if text == "auto" else "off"), _USUAL_OVERLAP
    if not (text.isascii() and text.isdigit() and 0 < len(text) <= 5):
        raise SnowmeltError(f"--tile {text}: give a size in pixels, auto or off", code="option-value")
    size = int(text)
    if size < _STRIDE or size % _STRIDE:
        near = max(_STRIDE, round(size / _STRIDE) * _STRIDE)
        raise SnowmeltError(
            f"--tile {text}: a tile's side must be a multiple of {_STRIDE}; take {near}", code="option-value"
        )
    return size, _USUAL_OVERLAP if overlap is None else overlap
