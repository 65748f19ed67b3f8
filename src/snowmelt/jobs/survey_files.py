"""What ``check-data --output`` leaves: check.json, plots, and suspicious masks on one sheet."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.data.stored_files import write_flushed
from snowmelt.data.survey import Survey
from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import overlay_mask
from snowmelt.reporting import classes_figure, contact_sheet, sizes_figure

MOST = 24  # tiles of the sheet
PER_KIND = 8
KINDS = ("labels", "noise", "other_size", "ignored", "empty", "one_class", "specks", "equal_masks")
SIDE = 448


def write_survey(found: Survey, content: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write check.json, classes.png, sizes.png and, where there is any, suspicious.png. Gives their paths.

    Raises:
        SnowmeltError: the folder cannot be written to.
    """
    files: dict[str, bytes] = {"check.json": json.dumps(content, indent=2).encode()}
    if any(row["masks"] for row in content["splits"]):
        files["classes.png"] = _png(classes_figure(content))
    facts = found.tally.rows
    known = facts["height"] > 0
    sizes = {
        split: np.stack([facts["height"][chosen], facts["width"][chosen]], axis=1)
        for split in found.tally.names
        if (chosen := known & (found.tally.splits == split)).any()
    }
    if sizes:
        files["sizes.png"] = _png(sizes_figure(sizes, found.image_size))
    tiles = _tiles(found)
    if tiles:
        buffer = io.BytesIO()
        contact_sheet(tiles).save(buffer, format="PNG")
        files["suspicious.png"] = buffer.getvalue()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            write_flushed(folder / name, [data])
        if not tiles:
            (folder / "suspicious.png").unlink(missing_ok=True)  # of an earlier look
    except OSError as error:
        raise SnowmeltError(
            f"{folder}: cannot be written to ({error.strerror or error}); choose another --output",
            code="file-unwritable",
        ) from None
    return [folder / name for name in files]


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=110, format="png")
    return buffer.getvalue()


def _tiles(found: Survey) -> list[tuple[str, str, np.ndarray]]:
    """What is odd, the file, and the mask over its picture, of the first masks of each kind."""
    rows = {found.tally.mask_path(row): row for row in range(len(found.tally.rows))}
    tiles: list[tuple[str, str, np.ndarray]] = []
    for kind in KINDS:
        for finding in found.findings:
            if finding.kind == kind:
                for item in finding.items[:PER_KIND]:
                    picture = _overlay(found, rows.get(item.file))
                    if picture is not None and len(tiles) < MOST:
                        what = kind.replace("_", " ") + (
                            f": {item.detail}" if item.detail and kind != "other_size" else ""
                        )
                        tiles.append((what, item.file, picture))
    return tiles


def _overlay(found: Survey, row: int | None) -> np.ndarray | None:
    """The mask over its picture; alone where their sizes differ or the picture cannot be read."""
    if row is None:
        return None
    part, index = found.tally.place(row)
    try:
        held = part.labels(index)
        if held is None:
            return None
        labels = np.minimum(held[0], 255).astype(np.uint8)
    except SnowmeltError:
        return None
    try:
        picture = part.picture(index, None)[0]
    except SnowmeltError:
        picture = np.zeros((*labels.shape, 3), np.uint8)
    if picture.shape[:2] != labels.shape:
        picture = np.zeros((*labels.shape, 3), np.uint8)
    step = max(1, max(labels.shape) // SIDE)
    white = any(each.white_is_foreground for each in found.meaning.maps.values())
    count = len(found.meaning.classes)
    shown = labels[::step, ::step]
    if white:
        shown = np.where(shown == 255, 1, shown)
    strange = (shown >= count) & (shown != 255)
    overlay = overlay_mask(picture[::step, ::step], np.where(strange, 0, shown), count)
    overlay[strange] = (255, 0, 255)
    return overlay
