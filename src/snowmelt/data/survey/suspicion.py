"""Masks and pictures that can be read and still look wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.data.survey.findings import Finding, Item, Level, plural
from snowmelt.data.survey.meaning import Meaning
from snowmelt.data.survey.measuring import TINY, Tally

IGNORED = 0.95  # of the pixels: nearly nothing to learn from
SPECKS = 40  # tiny regions in one mask; the hand-drawn parts of 1003 photographs have 11 at most
FEW = 20  # images to validate or test on
LONG = 3.0  # times as long as wide: mostly padding in a square

_UNUSABLE: dict[str, tuple[str, str]] = {
    "bad_image": ("{n} cannot be read", "replace or remove the file"),
    "bad_mask": ("{n} cannot be read", "save class ids as PNG, or remove image and mask"),
    "other_size": ("{n} of another size than the image", "save the mask at the size of the image as it is shown"),
}


def find_unusable(tally: Tally) -> list[Finding]:
    """What the pass could not read, or read and could not bring together."""
    found = []
    for kind, (what, advice) in _UNUSABLE.items():
        items = []
        for problem, row, message, code in tally.problems:
            if problem == kind:
                path = tally.image_path(row) if kind == "bad_image" else tally.mask_path(row)
                items.append(Item(path, str(tally.splits[row]), _reason(message, path), code=code))
        if items:
            noun = "image" if kind == "bad_image" else "mask"
            found.append(Finding("error", kind, what.format(n=plural(len(items), noun)), advice, items, items[0].code))
    return found


def _reason(message: str, path: str) -> str:
    """The middle of a line of error: without the file, which stands before, and the mend, which stands after it."""
    reason = message.removeprefix(f"{path}: ")
    return reason.rpartition("; ")[0] or reason


def find_suspicious(tally: Tally, meaning: Meaning) -> list[Finding]:
    """Masks that hold nothing, one class, hardly anything but ignored pixels, or specks; pictures of one colour."""
    facts = tally.rows
    has = facts["held"] >= 0
    nothing = np.array([values <= {0} for values in _classes(tally, meaning)] or [False])[facts["held"]] & has
    single = np.array([len(v) == 1 and not v <= {0} for v in _classes(tally, meaning)] or [False])[facts["held"]] & has
    ignored = np.zeros(len(facts), dtype=bool)
    if not any(labels.white_is_foreground for labels in meaning.maps.values()):
        ignored = has & (facts["white"] >= IGNORED)
    specks = has & (facts["tiny"] >= SPECKS) & (2 * facts["tiny"] > facts["regions"])
    mask: Callable[[int], str] = tally.mask_path
    kinds: list[tuple[Level, str, np.ndarray, Callable[[int], str], str, str]] = [
        (
            "warning",
            "ignored",
            ignored,
            mask,
            f"at least {100 * IGNORED:.0f} % ignored ({IGNORE_INDEX})",
            "little or nothing to learn from them",
        ),
        (
            "warning",
            "empty",
            nothing & ~ignored,
            mask,
            "nothing but background",
            "right where the image shows none of the classes; else the label is lost",
        ),
        (
            "warning",
            "one_class",
            single & ~ignored,
            mask,
            "one class all over, without background",
            "look whether that is so",
        ),
        (
            "warning",
            "specks",
            specks,
            mask,
            f"{SPECKS} or more regions of at most {TINY} pixels",
            "noise, or a mask that was resized smoothly; clean it",
        ),
        (
            "warning",
            "flat",
            facts["flat"] & (facts["height"] > 0),
            tally.image_path,
            "hardly any contrast",
            "blank or broken pictures; look and remove",
        ),
    ]
    found = []
    for level, kind, chosen, path, what, advice in kinds:
        rows = np.flatnonzero(chosen).tolist()
        if rows:
            noun = plural(len(rows), "image" if kind == "flat" else "mask")
            items = [Item(path(row), str(tally.splits[row])) for row in rows]
            found.append(Finding(level, kind, f"{noun} with {what}", advice, items))
    return found


def _classes(tally: Tally, meaning: Meaning) -> list[frozenset[int]]:
    """Classes in each combination of values that some mask holds; ignored pixels are none."""
    white = any(labels.white_is_foreground for labels in meaning.maps.values())
    return [
        frozenset(1 if value == 255 else value for value in found.values) if white else found.values - {IGNORE_INDEX}
        for found in tally.held
    ]


def find_sizes(tally: Tally, image_size: int) -> list[Finding]:
    """Pictures that the square of the networks does not suit, and parts that are small."""
    facts = tally.rows
    known = facts["height"] > 0
    long_side = np.maximum(facts["height"], facts["width"])
    short_side = np.minimum(facts["height"], facts["width"])
    found = []
    for kind, chosen, what, advice in (
        (
            "small",
            known & (long_side < image_size),
            f"smaller than {image_size} pixels",
            "they are enlarged; a smaller data.image_size costs less",
        ),
        (
            "long",
            known & (long_side > LONG * np.maximum(short_side, 1)),
            f"more than {LONG:g} times as long as wide",
            "most of the square is padding then; cut them up",
        ),
    ):
        items = [Item(tally.image_path(row), str(tally.splits[row])) for row in np.flatnonzero(chosen).tolist()]
        if items:
            found.append(Finding("note", kind, f"{plural(len(items), 'image')} {what}", advice, items))
    for split in ("val", "test"):
        count = int((tally.splits == split).sum())
        if 0 < count < FEW:
            advice = "scores of so few vary by chance; set more apart (data.val_fraction)"
            found.append(Finding("note", "few", f"{split} has {plural(count, 'image')}", advice))
    return found


def small_regions(tally: Tally, meaning: Meaning, image_size: int, least: int = 4) -> np.ndarray:
    """(K,) share of each class's regions whose side is below ``least`` pixels once images are at ``image_size``.

    A region's side is the root of its area; those of a few pixels in the file are left out. NaN without regions.
    """
    sizes = meaning.columns(tally.sizes.T).T[: len(meaning.classes)]
    steps = np.arange(sizes.shape[1])
    small = image_size / 2 ** (steps / 2) < least  # a step is half an octave of the side
    total = sizes.sum(axis=1)
    return np.where(total > 0, sizes[:, small].sum(axis=1) / np.maximum(total, 1), np.nan)
