"""Tables of a comparison: in 80 columns, every number where it belongs, and what is unknown as a dash."""

from __future__ import annotations

import io
from typing import Any

import pytest
from compared_arms import compared
from rich.console import Console

from snowmelt.reporting import budget_table, comparison_tables


def drawn(table: Any) -> list[str]:
    """The lines of a table on a terminal of 80 columns, as wide as they are."""
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    wide = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    narrow = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert max(map(len, narrow)) <= 80
    assert "…" not in "".join(narrow)
    assert len(narrow) >= len(wide)
    return narrow


def row_of(lines: list[str], arm: str) -> str:
    return next(line for line in lines if line.split()[:1] == [arm])


def test_all_of_it_is_readable_in_80_columns() -> None:
    content = compared(9)
    scores, costs, transfer = (drawn(table) for table in comparison_tables(content))
    for row in content["arms"]:
        line = row_of(scores, row["arm"])
        assert f"{row['miou']:.4f}" in line
        assert f"{row['deviation']:.4f}" in line
        assert f"{100 * row['share_of_teacher']:.1f} %" in line
        if row["difference"] is not None:
            assert f"{row['difference']:+.4f}" in line
            assert f"{row['low']:+.4f} {row['high']:+.4f}" in line
            assert f"{100 * row['relative']:+.1f} %" in line
        assert f"{row['images_per_second']:.1f}" in row_of(costs, row["arm"])
        assert f"{100 * row['transfer_of_base']:.1f} %" in row_of(transfer, row["arm"])
    assert f"{content['teacher']['miou']:.4f}" in row_of(scores, "(teacher)")
    assert "scores on test" in scores[0]
    assert any("250 s" in line for line in costs)


def test_long_names_are_folded_and_not_cut() -> None:
    name = "an-arm-with-a-name-that-does-not-fit-into-any-column"
    content = compared(3, names={1: name})
    lines = drawn(comparison_tables(content)[0])
    folded = "".join(line.strip().split("  ")[0] for line in lines[4:] if "─" not in line)
    assert name in folded


def test_what_is_not_known_is_a_dash_and_what_is_never_reached_says_so() -> None:
    content = compared(3, teacher=False, seeds=1)
    tables = comparison_tables(content)
    assert len(tables) == 2  # no second data set
    scores, costs = map(drawn, tables)
    assert "teacher" not in "".join(scores)
    assert row_of(scores, "plain").split() == ["plain", f"{content['arms'][0]['miou']:.4f}", "-", "-", "-", "-"]
    content["arms"][1].update(seconds_to_base_best=None, seeds_not_reaching=1)
    assert "never" in row_of(drawn(comparison_tables(content)[1]), content["arms"][1]["arm"])
    assert "nan" not in " ".join(scores + costs).lower()


def test_some_seeds_that_do_not_reach_it_are_counted() -> None:
    content = compared(2)
    content["arms"][1].update(seconds_to_base_best=75.0, seeds_not_reaching=1, seeds=3)
    assert "75 s (2/3)" in row_of(drawn(comparison_tables(content)[1]), content["arms"][1]["arm"])


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_the_budget_says_what_was_tried_and_what_follows(seconds: float, text: str) -> None:
    budgets = [{"arm": "plain", "epochs": 40, "first_epoch": 1.0, "last_epoch": 2.0, "seconds": seconds}]
    line = row_of(drawn(budget_table(budgets, "plain")), "plain")
    assert line.split() == ["plain", *["1.0", "s/epoch", "2.0", "s/epoch"], "40", *text.split()]
