"""Windows over an axis: they cover it, they are few, and their weights add up to one and fade where they should."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.inference import cover

axes = st.tuples(st.integers(1, 400), st.integers(1, 96), st.floats(0, 0.75))


@given(axes)
def test_the_weights_of_all_windows_add_up_to_one_everywhere(axis: tuple[int, int, float]) -> None:
    length, tile, overlap = axis
    total = torch.zeros(length)
    for window in cover(length, tile, overlap):
        assert window.start >= 0 and window.stop <= length
        assert len(window.weights) == min(tile, length)
        assert bool((window.weights >= 0).all())
        total[window.start : window.stop] += window.weights
    torch.testing.assert_close(total, torch.ones(length))


@given(axes)
def test_neighbours_overlap_by_the_share_at_least_and_no_window_is_spare(axis: tuple[int, int, float]) -> None:
    length, tile, overlap = axis
    starts = [window.start for window in cover(length, tile, overlap)]
    steps = [after - before for before, after in pairwise(starts)]
    most = max(1, round(tile * (1 - overlap)))
    assert starts[0] == 0 and starts[-1] == max(0, length - tile)
    assert all(0 < step <= most for step in steps)
    assert len(steps) == max(0, math.ceil((length - tile) / most))  # one fewer could not reach the end


def test_weights_by_hand() -> None:
    first, second = cover(12, 8, 0.5)  # four pixels shared, at 1/8, 3/8, 5/8 and 7/8 of the way
    assert (first.start, second.start) == (0, 4)
    rise = [0.0, 0.5 - math.cos(math.pi / 4) / 2, 0.5 + math.cos(math.pi / 4) / 2, 1.0]
    torch.testing.assert_close(second.weights, torch.tensor([*rise, 1, 1, 1, 1]))
    torch.testing.assert_close(first.weights, torch.tensor([1, 1, 1, 1, *(1 - value for value in rise)]))


def test_the_edge_of_a_window_counts_for_nothing_where_it_has_a_neighbour() -> None:
    windows = cover(300, 64, 0.25)  # sixteen pixels shared at least, so the outer four are quarters
    for before, after in pairwise(windows):
        quarter = (before.stop - after.start) // 4
        assert quarter >= 4
        assert float(before.weights[-quarter:].max()) == 0
        assert float(after.weights[:quarter].max()) == 0
    assert float(windows[0].weights[0]) == 1
    assert float(windows[-1].weights[-1]) == 1


def test_one_window_where_all_fits() -> None:
    for length in (1, 31, 32):
        [window] = cover(length, 32, 0.25)
        assert window.start == 0 and window.weights.tolist() == [1.0] * length


@pytest.mark.parametrize(("tile", "overlap", "word"), [(0, 0.25, "tiles"), (8, -0.1, "overlap"), (8, 0.8, "overlap")])
def test_what_cannot_be_covered_is_refused(tile: int, overlap: float, word: str) -> None:
    with pytest.raises(SnowmeltError, match=word):
        cover(10, tile, overlap)
