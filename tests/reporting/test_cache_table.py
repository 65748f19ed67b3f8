from __future__ import annotations

import io

import pytest
from rich.console import Console

from snowmelt.reporting import effects_table
from snowmelt.teachers.cache import Effect, candidates


def effects(channels: int) -> list[Effect]:
    """The finer an encoding, the less it loses; in no order."""
    found = [
        Effect(each, each.row_bytes, 0.0, 0.001 * each.stride / (each.top or channels), 0.0)
        for each in candidates(channels, 64)
    ]
    return found[::2] + found[1::2]


def rendered(table: list[Effect], chosen: Effect) -> list[str]:
    console = Console(file=io.StringIO(), width=80, color_system=None)
    console.print(effects_table(table, chosen.encoding))
    return console.file.getvalue().splitlines()


def test_all_candidates_from_small_to_large_and_the_chosen_one_marked() -> None:
    table = effects(1)
    chosen = next(each for each in table if (each.encoding.precision, each.encoding.stride) == ("uint8", 2))
    lines = rendered(table, chosen)
    assert all(len(line) <= 80 for line in lines) and "…" not in "".join(lines)
    rows = [line.split() for line in lines if "uint8" in line or "float16" in line]
    assert len(rows) == len(table)
    sizes = [int(row[-3].replace(",", "")) for row in rows]
    assert sizes == sorted(sizes)
    assert [row for row in rows if row[0] == "->"] == [
        ["->", "uint8", "2", "all", f"{chosen.bytes:,}", f"{100 * chosen.share:.3f}", "%"]
    ]


@pytest.mark.parametrize("place", [0, 11, -1])
def test_of_many_candidates_ten_around_the_chosen_one(place: int) -> None:
    table = effects(21)
    chosen = sorted(table, key=lambda effect: (effect.bytes, effect.share))[place]
    lines = rendered(table, chosen)
    rows = [line.split() for line in lines if "uint8" in line or "float16" in line]
    assert len(rows) == 10 < len(table)
    [marked] = [row for row in rows if row[0] == "->"]
    assert marked[-3] == f"{chosen.bytes:,}"
    assert {row[-4] for row in rows} <= {"4", "8", "16", "all"}
