"""Connected regions of a mask, counted without any library for it."""

from __future__ import annotations

import numpy as np

LARGEST = 4_000_000  # pixels; of a larger mask every second row and column is looked at, and so on


def find_regions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels, areas) of the regions of equal value in an (H, W) mask, joined along sides and not across corners.

    Both are 1-D, int64; areas are in pixels. Masks beyond ``LARGEST`` pixels are thinned, and the areas scaled up.
    """
    step = max(1, int(np.ceil(np.sqrt(labels.size / LARGEST))))
    labels = labels[::step, ::step]
    begins = np.ones(labels.shape, dtype=bool)  # where a run of equal values in a row begins
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    flat = begins.ravel()
    starts = np.flatnonzero(flat)
    run = (np.cumsum(flat, dtype=np.int32) - 1).reshape(labels.shape)
    # Two runs touch where one lies over the other; the column in which the later of them begins is enough.
    touching = (labels[1:] == labels[:-1]) & (begins[1:] | begins[:-1])
    root = _join(len(starts), run[:-1][touching], run[1:][touching])
    lengths = np.diff(starts, append=labels.size)
    areas = np.bincount(root, weights=lengths, minlength=len(starts))
    found = np.flatnonzero(areas)
    return labels.ravel()[starts[found]].astype(np.int64), areas[found].astype(np.int64) * step * step


def _join(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The least member of each one's component, given the pairs that belong together."""
    root = np.arange(count)
    while True:
        one, other = root[first], root[second]
        apart = one != other
        if not apart.any():
            return root
        one, other = one[apart], other[apart]
        first, second = first[apart], second[apart]
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
