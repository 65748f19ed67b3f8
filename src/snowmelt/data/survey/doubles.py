"""Pictures that are there more than once, within a split or across, and masks that belong to another picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from snowmelt.data.survey.findings import Finding, Item, plural
from snowmelt.data.survey.likeness import ALIKE, MOST, near_pairs, resemblance
from snowmelt.data.survey.measuring import SIDE, Tally, pixel_digest
from snowmelt.errors import SnowmeltError

LEAST_VALUES = 2  # masks of one value are equal everywhere
LOOKED_AT = 5000  # pairs that hash alike; where there are more, the pictures are all of one kind
_ACROSS = "a score on what was trained on flatters the run; keep one of each"


def find_doubles(tally: Tally) -> list[Finding]:
    """Findings about equal pictures, nearly equal ones, and equal masks of different pictures."""
    groups = list(_equal_pictures(tally))
    first_of = {row: group[0] for group in groups for row in group}
    found = _by_place(tally, [(group[0], row) for group in groups for row in group[1:]], "duplicate", "the same pixels")
    found += _near(tally, first_of)
    return found + _equal_masks(tally, first_of)


def _groups(rows: np.ndarray, keys: np.ndarray) -> Iterator[list[int]]:
    by_key: dict[bytes, list[int]] = defaultdict(list)
    for row in rows.tolist():
        by_key[keys[row].tobytes()].append(row)
    return (group for group in by_key.values() if len(group) > 1)


def _equal_pictures(tally: Tally) -> Iterator[list[int]]:
    """Rows of the same pixels. What agrees at a reduced size is decoded whole before it counts as equal."""
    for group in _groups(np.flatnonzero(tally.rows["height"] > 0), tally.rows["pixels"]):
        by_pixels: dict[bytes, list[int]] = defaultdict(list)
        for row in group:
            by_pixels[b"" if tally.rows["whole"][row] else _whole_digest(tally, row)].append(row)
        yield from (same for same in by_pixels.values() if len(same) > 1)


def _whole_digest(tally: Tally, row: int) -> bytes:
    part, index = tally.place(row)
    try:
        return pixel_digest(*part.picture(index, None))
    except SnowmeltError:  # gone since it was measured
        return str(row).encode()


def _near(tally: Tally, first_of: dict[int, int]) -> list[Finding]:
    """Pictures whose hashes nearly agree and whose thumbnails do when looked at again."""
    usable = np.flatnonzero((tally.rows["height"] > 0) & ~tally.rows["flat"])
    usable = np.array([row for row in usable.tolist() if first_of.get(row, row) == row], dtype=np.int64)
    if len(usable) > MOST:
        what = f"nearly equal pictures were not looked for among more than {MOST}"
        return [Finding("note", "near_skipped", what, "exact duplicates were")]
    near = near_pairs(tally.rows["hash"][usable])
    pairs = []
    for first, second, _ in near[:LOOKED_AT]:
        one, other = int(usable[first]), int(usable[second])
        if _alike(tally, one, other):
            pairs.append((one, other))
    found = _by_place(tally, pairs, "near_duplicate", "nearly the same picture")
    if len(near) > LOOKED_AT:
        what = f"{len(near)} pairs of pictures hash alike, of which {LOOKED_AT} were looked at"
        found.append(Finding("note", "near_skipped", what, "pictures of one kind and framing cannot be told apart so"))
    return found


def _alike(tally: Tally, one: int, other: int) -> bool:
    try:
        pictures = [part.picture(index, SIDE)[0] for part, index in (tally.place(one), tally.place(other))]
    except SnowmeltError:
        return False
    return resemblance(*pictures) >= ALIKE


def _by_place(tally: Tally, pairs: list[tuple[int, int]], kind: str, what: str) -> list[Finding]:
    """The pairs within one split and those across two, apart: only the latter spoil a score."""
    within: list[Item] = []
    across: list[Item] = []
    for one, other in pairs:
        splits = str(tally.splits[one]), str(tally.splits[other])
        same = splits[0] == splits[1]
        detail = what if same else f"{what} in {splits[0]} and {splits[1]}"
        item = Item(tally.image_path(other), splits[1], detail, tally.image_path(one))
        (within if same else across).append(item)
    found = []
    if across:
        line = f"{plural(len(across), 'pair')} of images in different splits: {what}"
        found.append(Finding("warning", f"{kind}_across", line, _ACROSS, across))
    if within:
        line = f"{plural(len(within), 'pair')} of images in one split: {what}"
        found.append(Finding("warning", f"{kind}_within", line, "such an image counts twice; keep one of each", within))
    return found


def _equal_masks(tally: Tally, first_of: dict[int, int]) -> list[Finding]:
    """Masks of several values that two different pictures have to the pixel: one of them is hardly right."""
    values = np.array([len(found.values) for found in tally.held], dtype=np.int64)
    held = tally.rows["held"]
    rows = np.flatnonzero(held >= 0)
    rows = rows[values[held[rows]] >= LEAST_VALUES] if len(rows) else rows
    items = []
    for group in _groups(rows, tally.rows["mask"]):
        pictures = {first_of.get(row, row): row for row in reversed(group)}
        first, *others = sorted(pictures.values())
        for row in others:
            items.append(Item(tally.mask_path(row), str(tally.splits[row]), "", tally.mask_path(first)))
    if not items:
        return []
    what = f"{plural(len(items), 'mask')} equal to the mask of another image"
    return [Finding("warning", "equal_masks", what, "one of the two was probably saved under a wrong name", items)]
