"""A whole look at a data set: what it holds, and what is wrong or odd about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from snowmelt.data.survey.doubles import find_doubles
from snowmelt.data.survey.findings import LEVELS, Finding
from snowmelt.data.survey.meaning import ClassShares, Meaning, find_meaning, find_uneven, share_out
from snowmelt.data.survey.measuring import Tally, measure
from snowmelt.data.survey.opening import Opened
from snowmelt.data.survey.suspicion import find_sizes, find_suspicious, find_unusable, small_regions


@dataclass(frozen=True)
class Survey:
    """What was found. ``findings``: errors first; with none of these, training takes the data."""

    spec: str
    tally: Tally
    meaning: Meaning
    shares: ClassShares
    findings: tuple[Finding, ...]
    set_apart: bool
    image_size: int

    @property
    def sound(self) -> bool:
        """Whether training would take the data as it is."""
        return not any(finding.level == "error" for finding in self.findings)

    def count(self, split: str) -> int:
        """Images of a split."""
        return int((self.tally.splits == split).sum())

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data, for JSON."""
        return {
            "data": self.spec,
            "sound": self.sound,
            "val_set_apart_by_name": self.set_apart,
            "splits": [self._split(position) for position in range(len(self.shares.splits))],
            "classes": [self._class(index) for index in range(len(self.meaning.classes)) if self._shown(index)],
            "ignored": self._counts(len(self.meaning.classes)),
            "findings": [finding.to_dict() for finding in self.findings],
        }

    def _split(self, position: int) -> dict[str, Any]:
        name = self.shares.splits[position]
        facts = self.tally.rows[(self.tally.splits == name) & (self.tally.rows["height"] > 0)]
        sizes: dict[str, Any] = {}
        if len(facts):
            aspects = facts["width"] / facts["height"]
            for key, values in (("width", facts["width"]), ("height", facts["height"]), ("aspect", aspects)):
                spread = (np.min(values), np.median(values), np.max(values))
                sizes[key] = dict(zip(("min", "median", "max"), (round(float(v), 3) for v in spread), strict=True))
            sizes["sizes"] = len(np.unique(np.stack([facts["height"], facts["width"]]), axis=1).T)
        return {"name": name, "images": self.count(name), "masks": int(self.shares.masks[position]), **sizes}

    def _shown(self, index: int) -> bool:
        """Values that mean nothing are classes only where some mask holds them."""
        return bool(self.meaning.maps) or bool(self.shares.images[:, index].any())

    def _class(self, index: int) -> dict[str, Any]:
        small = float(small_regions(self.tally, self.meaning, self.image_size)[index])
        return {
            "id": index,
            "name": self.meaning.classes[index],
            "splits": self._counts(index),
            "regions_under_4px": None if np.isnan(small) else round(small, 4),
        }

    def _counts(self, index: int) -> dict[str, dict[str, Any]]:
        shares = self.shares
        labelled = shares.pixels.sum(axis=1)
        return {
            split: {
                "pixels": int(shares.pixels[row, index]),
                "share": round(float(shares.pixels[row, index] / max(int(labelled[row]), 1)), 6),
                "images": int(shares.images[row, index]),
                "share_of_image": round(float(shares.means[row, index]), 6),
                "standard_error": round(float(shares.errors[row, index]), 6),
            }
            for row, split in enumerate(shares.splits)
            if shares.masks[row]
        }


def survey(
    opened: Opened,
    *,
    val_fraction: float = 0.1,
    seed: int = 0,
    image_size: int = 256,
    done: Callable[[int, int], None] | None = None,
) -> Survey:
    """Look at every picture and mask once.

    Args:
        opened: see ``open_parts``; ``val_fraction`` and ``seed`` as there.
        image_size: side of the square that the networks are to see.
        done: is told how many of how many items are through.
    """
    splits = opened.splits(val_fraction, seed)
    total = sum(len(each) for each in splits)
    tally = measure(opened.parts, splits, None if done is None else lambda count: done(count, total))
    meaning = find_meaning(opened, tally)
    shares = share_out(meaning, tally)
    findings = [
        *opened.findings,
        *find_unusable(tally),
        *meaning.findings,
        *find_doubles(tally),
        *find_suspicious(tally, meaning),
        *find_uneven(meaning, shares),
        *find_sizes(tally, image_size),
    ]
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Survey(opened.spec, tally, meaning, shares, tuple(findings), opened.set_apart, image_size)
