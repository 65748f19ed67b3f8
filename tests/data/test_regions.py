"""Regions against a flood fill, and masks too large to look at whole."""

from __future__ import annotations

import numpy as np
import pytest

from snowmelt.data.survey import regions
from snowmelt.data.survey.regions import find_regions


def flooded(labels: np.ndarray) -> list[tuple[int, int]]:
    """(label, area) of every region, by flooding one after the other."""
    seen = np.zeros(labels.shape, dtype=bool)
    found = []
    for start in np.ndindex(labels.shape):
        if seen[start]:
            continue
        stack, area = [start], 0
        seen[start] = True
        while stack:
            row, column = stack.pop()
            area += 1
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                inside = 0 <= near[0] < labels.shape[0] and 0 <= near[1] < labels.shape[1]
                if inside and not seen[near] and labels[near] == labels[start]:
                    seen[near] = True
                    stack.append(near)
        found.append((int(labels[start]), area))
    return sorted(found)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (13, 17), (40, 31)])
@pytest.mark.parametrize("values", [1, 2, 4])
def test_regions_are_those_of_a_flood_fill(shape: tuple[int, int], values: int) -> None:
    rng = np.random.default_rng([*shape, values])
    for blur in (1, 3):
        labels = np.kron(rng.integers(0, values, shape), np.ones((blur, blur), int)).astype(np.uint8)
        names, areas = find_regions(labels)
        assert sorted(zip(names.tolist(), areas.tolist(), strict=True)) == flooded(labels)


def test_a_spiral_is_one_region() -> None:
    """Runs that meet only far away: joining by neighbours alone would need as many rounds as it has turns."""
    labels = np.zeros((41, 41), np.uint8)
    row = column = 0
    step, direction = (0, 1), 0
    for length in (40, 40, 40, 38, 38, 36, 36, 34, 34, 32, 32):
        for _ in range(length):
            labels[row, column] = 1
            row, column = row + step[0], column + step[1]
        direction = (direction + 1) % 4
        step = ((0, 1), (1, 0), (0, -1), (-1, 0))[direction]
    names, areas = find_regions(labels)
    assert sorted(zip(names.tolist(), areas.tolist(), strict=True)) == flooded(labels)
    assert (names == 1).sum() == 1


def test_a_huge_mask_is_thinned_and_areas_keep_their_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "LARGEST", 100)
    labels = np.zeros((20, 20), np.uint8)
    labels[4:12, 4:16] = 300 % 256
    names, areas = find_regions(labels)
    assert dict(zip(names.tolist(), areas.tolist(), strict=True)) == {0: 400 - 96, 44: 96}
