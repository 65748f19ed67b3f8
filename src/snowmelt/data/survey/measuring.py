"""One pass over a data set: a few numbers about each item, and sums over all of them; no pixels are kept."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from snowmelt.data.checking import examine_all, fault_text
from snowmelt.data.images import count_values
from snowmelt.data.labels import LabelsFound
from snowmelt.data.survey.likeness import BYTES, picture_hash
from snowmelt.data.survey.parts import Part
from snowmelt.data.survey.regions import find_regions
from snowmelt.errors import SnowmeltError

SIDE = 256  # pictures are looked at no larger than needed for this long side, where their format allows it
TINY = 8  # pixels: a region of no more is a slip of the brush, or noise
VALUES = 257  # the last one stands for all beyond 255
RARE = 0.001  # of a mask's pixels
BINS = 48  # of the sizes of regions, two for each halving of the side

FACTS = np.dtype(
    [
        ("height", "i4"),
        ("width", "i4"),
        ("pixels", "V16"),  # digest of the picture, as it was looked at
        ("whole", "?"),  # whether that was every pixel of it
        ("hash", "u1", (BYTES,)),
        ("flat", "?"),
        ("mask", "V16"),  # digest of the mask
        ("held", "i4"),  # position in Tally.held, -1 without a readable mask
        ("black", "f4"),  # share of value 0
        ("white", "f4"),  # share of value 255
        ("rare", "i4"),  # values that hardly any pixel has
        ("regions", "i4"),
        ("tiny", "i4"),  # regions of at most TINY pixels
    ]
)


class Problem(NamedTuple):
    """Why an item cannot be used, in the words and with the code of training."""

    kind: str
    row: int
    message: str
    code: str


class Tally:
    """What the pass found.

    ``rows``: FACTS of each item, parts behind one another. ``problems``: what cannot be used.
    """

    def __init__(self, parts: Sequence[Part], splits: Sequence[np.ndarray]) -> None:
        self.parts = list(parts)
        self.starts = np.cumsum([0, *(len(part) for part in parts)])
        self.splits = np.concatenate([np.empty(0, "U12"), *splits])
        self.names = list(dict.fromkeys(self.splits.tolist()))
        self.rows = np.zeros(len(self.splits), FACTS)
        self.rows["held"] = -1
        self.held: list[LabelsFound] = []
        self.problems: list[Problem] = []
        shape = (len(self.names), VALUES)
        self.pixels = np.zeros(shape, np.int64)
        self.images = np.zeros(shape, np.int64)
        self.shares = np.zeros(shape)  # sums of each image's share, and of its square
        self.squares = np.zeros(shape)
        self.sizes = np.zeros((VALUES, BINS), np.int64)  # regions above TINY by value and by side
        self._known: dict[LabelsFound, int] = {}
        self._lock = threading.Lock()

    def place(self, row: int) -> tuple[Part, int]:
        """The part of a row, and the position in it."""
        part = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.parts[part], row - int(self.starts[part])

    def image_path(self, row: int) -> str:
        part, index = self.place(row)
        return part.image_path(index)

    def mask_path(self, row: int) -> str:
        part, index = self.place(row)
        return part.mask_path(index)

    def look(self, row: int) -> None:
        """Measure one item. Nothing is raised: what cannot be read, for whatever reason, is a problem of this row."""
        try:
            self._look(row)
        except Exception as error:
            kind = "bad_mask" if self.rows[row]["height"] else "bad_image"  # the picture is looked at first
            self._note(kind, row, SnowmeltError(fault_text(error), code="loading-failed"))

    def _look(self, row: int) -> None:
        part, index = self.place(row)
        shape = self._look_at_picture(part, index, row)
        stated = part.stated(index)
        if stated is not None and stated != shape:  # a mask of a size that nothing vouches for may take any memory
            if shape is not None:
                self._compare(part, index, row, shape, stated)
            return
        try:
            found = part.labels(index)
        except SnowmeltError as error:
            self._note("bad_mask", row, error)
            return
        if found is None:
            return
        labels, bilevel = found
        if shape is not None:
            self._compare(part, index, row, shape, labels.shape)
        self._look_at_mask(labels, bilevel, row)

    def _compare(self, part: Part, index: int, row: int, image: tuple[int, int], mask: tuple[int, ...]) -> None:
        try:
            part.compare(index, image, mask)
        except SnowmeltError as error:
            self._note("other_size", row, error)

    def _look_at_picture(self, part: Part, index: int, row: int) -> tuple[int, int] | None:
        try:
            picture, shape = part.picture(index, SIDE)
        except SnowmeltError as error:
            self._note("bad_image", row, error)
            return None
        facts = self.rows[row]
        facts["height"], facts["width"] = shape
        facts["pixels"] = pixel_digest(picture, shape)
        facts["whole"] = picture.shape[:2] == shape
        facts["hash"], facts["flat"] = picture_hash(picture)
        return shape

    def _look_at_mask(self, labels: np.ndarray, bilevel: bool, row: int) -> None:
        counts = count_values(labels)
        values = np.flatnonzero(counts)
        found = LabelsFound(frozenset(values.tolist()), bilevel)
        kept = np.zeros(VALUES, np.int64)
        kept[: min(len(counts), VALUES - 1)] = counts[: VALUES - 1]
        kept[-1] = counts[VALUES - 1 :].sum()
        shares = kept / labels.size
        areas = find_regions(labels)
        drawn = areas[1] > TINY
        sides = bin_of(areas[1][drawn], max(labels.shape))
        facts = self.rows[row]
        facts["mask"] = pixel_digest(labels, labels.shape)
        facts["black"], facts["white"] = shares[0], 0 if bilevel else shares[255]
        facts["rare"] = int((counts[values] < RARE * labels.size).sum())
        facts["regions"], facts["tiny"] = len(areas[1]), int((~drawn).sum())
        split = self.names.index(str(self.splits[row]))
        with self._lock:
            if found not in self._known:
                self._known[found] = len(self.held)
                self.held.append(found)
            facts["held"] = self._known[found]
            self.pixels[split] += kept
            self.images[split] += kept > 0
            self.shares[split] += shares
            self.squares[split] += shares**2
            np.add.at(self.sizes, (np.minimum(areas[0][drawn], VALUES - 1), sides), 1)

    def _note(self, kind: str, row: int, error: SnowmeltError) -> None:
        with self._lock:
            self.problems.append(Problem(kind, row, str(error), error.code))


def bin_of(areas: np.ndarray, long_side: int) -> np.ndarray:
    """By how many half octaves a region's side is smaller than the picture's long side; (n,) below ``BINS``."""
    return np.clip(2 * np.log2(long_side / np.sqrt(areas)), 0, BINS - 1).astype(np.int64)


def pixel_digest(pixels: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """16 bytes that tell arrays of pixels apart; ``shape``: of the whole picture."""
    digest = hashlib.blake2b(repr((shape, pixels.dtype.str)).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def measure(parts: Sequence[Part], splits: Sequence[np.ndarray], done: Callable[[int], None] | None = None) -> Tally:
    """Look at every item of all parts once, on a few threads; ``done`` is told how many are through."""
    tally = Tally(parts, splits)
    examine_all(tally.look, len(tally.rows), tally.image_path, done)
    tally.problems.sort(key=lambda problem: problem.row)
    return tally
