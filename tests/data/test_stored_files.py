"""What this room keeps in files: how much of it there is, in words."""

from __future__ import annotations

import pytest

from snowmelt.data.stored_files import readable_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.0 kB"),
        (340, "0.3 kB"),
        (163_840, "163.8 kB"),
        (999_949, "999.9 kB"),
        (1_000_000, "1.0 MB"),
        (20_000_000, "20.0 MB"),
        (1_500_000_000, "1.5 GB"),
        (2_000_000_000_000, "2.0 TB"),
    ],
)
def test_a_size_is_in_the_largest_unit_of_which_there_is_one(count: int, text: str) -> None:
    assert readable_size(count) == text
