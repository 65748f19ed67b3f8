"""What the values in the masks mean, and how the classes are spread over images and splits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snowmelt.data.labels import LabelMap, infer_label_map
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.data.survey.findings import Finding, Item, plural
from snowmelt.data.survey.measuring import Tally
from snowmelt.data.survey.opening import Opened
from snowmelt.errors import SnowmeltError

NOISY = 4  # values that hardly any pixel has: more than a slip
SPREAD = 4.0  # standard errors, and
FACTOR = 1.5  # so many times as much: then a class is spread unevenly


@dataclass(frozen=True)
class Meaning:
    """``maps``: the meaning of labels in each group of parts; where none can be told, each value is a class."""

    classes: tuple[str, ...]
    maps: dict[int, LabelMap]
    findings: list[Finding]

    def columns(self, values: np.ndarray) -> np.ndarray:
        """From (..., VALUES) sums by mask value to (..., K + 1) by class, what is ignored last."""
        count = len(self.classes)
        found = np.zeros((*values.shape[:-1], count + 1), values.dtype)
        found[..., :count] = values[..., :count]
        if any(each.white_is_foreground for each in self.maps.values()):
            found[..., 1] += values[..., 255]
        else:
            found[..., count] = values[..., IGNORE_INDEX]
        return found


def find_meaning(opened: Opened, tally: Tally) -> Meaning:
    """Decide as training does, from the masks of all splits together; what it would refuse becomes a finding."""
    findings: list[Finding] = []
    maps: dict[int, LabelMap] = {}
    groups = {part.group: part.checks_classes for part in tally.parts if part.split != "unlabelled"}
    owners = np.repeat([part.group for part in tally.parts], [len(part) for part in tally.parts])
    names = opened.classes
    for group, checks in sorted(groups.items()):
        ours = np.flatnonzero((owners == group) & (tally.rows["held"] >= 0))
        held = np.unique(tally.rows["held"][ours])
        if not len(held) and names is None:
            continue
        try:
            if names is not None and (len(names) > 2 or not checks):
                maps[group] = LabelMap(names)
            else:
                maps[group] = infer_label_map([tally.held[each] for each in held], names, Path(opened.spec))
        except SnowmeltError as error:
            findings.append(_refused(error, tally, ours))
            continue
        if names is not None and maps[group].classes != names:
            what = f"the classes {', '.join(maps[group].classes)} of a split are not {', '.join(names)}"
            advice = "name the classes (data.classes or classes.txt)"
            findings.append(Finding("error", "classes_differ", what, advice, code="data-classes-differ"))
        names = names or maps[group].classes
    if names is None:  # values speak for themselves
        highest = max((value for found in tally.held for value in found.values if value < 255), default=0)
        names = tuple(f"value {value}" for value in range(highest + 1))
    meaning = Meaning(names, maps, findings)
    if maps:
        findings += _unknown_labels(meaning, tally, owners)
    return meaning


def _refused(reason: SnowmeltError, tally: Tally, ours: np.ndarray) -> Finding:
    """The masks as a whole mean nothing. Named are those that look like noise, else those with ids behind a gap."""
    what, _, advice = str(reason).partition("; ")
    noisy = np.flatnonzero(tally.rows["rare"] >= NOISY)
    if not len(noisy):
        return Finding("error", "labels", what, advice, _behind_a_gap(tally, ours), reason.code)
    what += f"; {plural(len(noisy), 'mask')} {'hold' if len(noisy) > 1 else 'holds'} values that hardly any pixel has"
    advice = (
        "that is what JPEG or smooth resizing leaves: round the masks to ids (black and white: cut at 128), save as PNG"
    )
    return Finding("error", "labels", what, advice, [_mask_item(tally, row) for row in noisy.tolist()], reason.code)


def _behind_a_gap(tally: Tally, ours: np.ndarray) -> list[Item]:
    """Masks with values above the first that no mask holds; all, where none is missing but there are too many."""
    held = [tally.held[found].values - {IGNORE_INDEX} for found in tally.rows["held"][ours].tolist()]
    every = frozenset[int]().union(*held)
    gap = next(value for value in itertools.count(1) if value not in every)
    least = gap if any(value > gap for value in every) else 0
    odd = [(row, sorted(value for value in values if value > least)) for row, values in zip(ours, held, strict=True)]
    return [_mask_item(tally, int(row), _listed(values)) for row, values in odd if values]


def _unknown_labels(meaning: Meaning, tally: Tally, owners: np.ndarray) -> list[Finding]:
    """Masks with values that are no class; those that look like noise apart."""
    stray: list[Item] = []
    noise: list[Item] = []
    for row in np.flatnonzero(tally.rows["held"] >= 0).tolist():
        labels = meaning.maps.get(int(owners[row]))
        unknown = labels.unknown(tally.held[tally.rows["held"][row]]) if labels else frozenset()
        if unknown:
            item = _mask_item(tally, row, _listed(sorted(unknown)))
            (noise if tally.rows["rare"][row] >= NOISY else stray).append(item)
    found = []
    if stray:
        what = f"{plural(len(stray), 'mask')} with values that are none of the {len(meaning.classes)} classes"
        advice = "mend the masks, or name the classes in classes.txt"
        found.append(Finding("error", "labels", what, advice, stray, "mask-label"))
    if noise:
        what = f"{plural(len(noise), 'mask')} with many stray values, each in hardly any pixel"
        advice = "that is what JPEG or smooth resizing leaves: round the masks to ids and save them as PNG"
        found.append(Finding("error", "noise", what, advice, noise, "mask-label"))
    return found


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:5]) + (", ..." if len(values) > 5 else "")
    return f"values {shown}" if len(values) > 1 else f"value {shown}"


def _mask_item(tally: Tally, row: int, detail: str = "") -> Item:
    return Item(tally.mask_path(row), str(tally.splits[row]), detail)


@dataclass(frozen=True)
class ClassShares:
    """By split (rows) and class (columns): pixels, images that hold the class, mean share of an image, its error.

    The last column is what is ignored.
    """

    splits: tuple[str, ...]
    pixels: np.ndarray  # (S, K + 1) int64
    images: np.ndarray  # (S, K + 1) int64
    means: np.ndarray  # (S, K + 1) float64
    errors: np.ndarray  # (S, K + 1) standard errors of the means
    masks: np.ndarray  # (S,) readable masks


def share_out(meaning: Meaning, tally: Tally) -> ClassShares:
    masks = np.array([((tally.splits == name) & (tally.rows["held"] >= 0)).sum() for name in tally.names])
    count = np.maximum(masks, 1)[:, None]
    means = meaning.columns(tally.shares) / count
    spread = np.maximum(meaning.columns(tally.squares) / count - means**2, 0)
    return ClassShares(
        tuple(tally.names),
        meaning.columns(tally.pixels),
        meaning.columns(tally.images),
        means,
        np.sqrt(spread / np.maximum(count - 1, 1)),
        masks,
    )


def find_uneven(meaning: Meaning, shares: ClassShares) -> list[Finding]:
    """Classes that a split lacks, or that take quite another share of it than of the training images."""
    if "train" not in shares.splits or not meaning.maps:  # values that mean nothing are missed nowhere
        return []
    train = shares.splits.index("train")
    classes = meaning.classes
    found = []
    never = [name for index, name in enumerate(classes) if not shares.images[train, index]]
    if never and shares.masks[train]:
        advice = "the network cannot learn it; add images or take the class out of the list"
        found.append(Finding("warning", "never", f"in no training image: {', '.join(never)}", advice))
    for row, split in enumerate(shares.splits):
        if split in ("train", "unlabelled") or not shares.masks[row]:
            continue
        lacking = [n for i, n in enumerate(classes) if shares.images[train, i] and not shares.images[row, i]]
        if lacking:
            advice = "its score there is absent, not 0; a larger or another split would hold it"
            found.append(Finding("warning", "absent", f"in no image of {split}: {', '.join(lacking)}", advice))
        uneven = []
        for index, name in enumerate(classes):
            ours, theirs = shares.means[row, index], shares.means[train, index]
            # Few images tell little of how much images differ, one tells nothing: they differ as those of train do.
            spread = shares.errors[train, index] * max(shares.masks[train], 1) ** 0.5
            error = float(
                np.hypot(max(shares.errors[row, index], spread / shares.masks[row] ** 0.5), shares.errors[train, index])
            )
            ratio = max(ours, theirs) / max(min(ours, theirs), 1e-12)
            if name not in (*lacking, *never) and abs(ours - theirs) > SPREAD * error and ratio > FACTOR:
                uneven.append(f"{name} {100 * ours:.2g} % of the pixels against {100 * theirs:.2g} %")
        if uneven:
            what = f"{split} is not like train: {'; '.join(uneven)}"
            advice = "chance does not explain it; split anew if the two should be alike"
            found.append(Finding("warning", "uneven", what, advice))
    return found
