"""Tables of a comparison: whole on a narrow console, every number where it belongs, what is unknown as a dash."""

from __future__ import annotations

import io
from typing import Any

import pytest
from compared_arms import compared
from rich.console import Console

from snowmelt.reporting import budget_table, comparison_tables


def drawn(table: Any, width: int = 80) -> list[str]:
    """The lines of a table on a console of ``width`` columns; no part of it is wider, and nothing is cut."""
    console = Console(file=io.StringIO(), width=width)
    uncut = "".join(segment.text for segment in console.render(table))  # printing would cut what is too wide
    assert max(map(len, uncut.splitlines())) <= width
    console.print(table)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert "…" not in "".join(lines)
    return lines


def row_of(lines: list[str], arm: str) -> str:
    """All cells of an arm, from each part of a table that was broken in two."""
    return " ".join(line for line in lines if line.split()[:1] == [arm])


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("seeds", [1, 3])
def test_all_of_it_is_readable_on_a_narrow_console(width: int, seeds: int) -> None:
    content = compared(9, seeds)
    scores, costs, transfer = (drawn(table, width) for table in comparison_tables(content))
    for row in content["arms"]:
        line = row_of(scores, row["arm"])
        assert f"{row['miou']:.4f}" in line
        assert seeds == 1 or f"{row['deviation']:.4f}" in line
        assert f"{100 * row['share_of_teacher']:.1f} %" in line
        if row["difference"] is not None:
            assert f"{row['difference']:+.4f}" in line
            assert f"{row['low']:+.4f} {row['high']:+.4f}" in line
            assert f"{100 * row['relative']:+.1f} %" in line
        assert f"{row['images_per_second']:.1f}" in row_of(costs, row["arm"])
        assert f"{100 * (row['agreement'] or 0):.1f} %" in row_of(costs, row["arm"]) or row["agreement"] is None
        assert f"{100 * row['transfer_of_base']:.1f} %" in row_of(transfer, row["arm"])
    assert f"{content['teacher']['miou']:.4f}" in row_of(scores, "(teacher)")
    assert "scores on test" in scores[0]
    assert any("250 s" in line for line in costs)


def test_a_table_stays_in_one_where_there_is_room() -> None:
    for table in comparison_tables(compared(9)):
        assert sum(line.split()[:1] == ["arm"] for line in drawn(table, 80)) == 1


def test_a_row_has_a_cell_for_each_column() -> None:
    table = comparison_tables(compared(2))[0]
    with pytest.raises(ValueError, match="kd: 1 cells for 6 columns"):
        table.add_row("kd", "0.5")


def test_an_interval_of_one_seed_is_said_to_be_of_the_images_alone() -> None:
    lines = drawn(comparison_tables(compared(3, seeds=1))[0])
    head = " ".join(" ".join(lines[:6]).split())
    assert "95 % interval" in head
    assert "of the images" in head
    assert "alone*" in head
    assert "* one seed: of the images alone, says nothing about the next seed" in lines
    assert "*" not in row_of(lines, "kd")


def test_intervals_of_one_seed_are_marked_among_those_of_more() -> None:
    content = compared(3)
    assert "*" not in "".join(drawn(comparison_tables(content)[0]))
    content["differences"]["cooled"]["seeds"] = 1  # it shares one seed with the base, whatever it has itself
    lines = drawn(comparison_tables(content)[0])
    row = content["arms"][2]
    assert f"* {row['low']:+.4f} {row['high']:+.4f}" in row_of(lines, "cooled")
    assert "*" not in row_of(lines, "kd") + row_of(lines, "(teacher)")
    assert lines[-1] == "* one seed: of the images alone, says nothing about the next seed"


def test_one_image_has_no_interval_to_explain() -> None:
    content = compared(2, seeds=1, teacher=False)
    content["differences"]["kd"].update(low=None, high=None)
    lines = drawn(comparison_tables(content)[0])
    assert row_of(lines, "kd").split()[4] == "-"
    assert "*" not in "".join(lines)


@pytest.mark.parametrize("width", [60, 80])
def test_long_names_are_folded_and_not_cut(width: int) -> None:
    name = "an-arm-with-a-name-that-does-not-fit-into-any-column"
    content = compared(3, names={1: name})
    for table in comparison_tables(content):
        lines = drawn(table, width)
        folded = "".join(line.strip().split("  ")[0] for line in lines if "─" not in line)
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
    lines = drawn(comparison_tables(content)[1])
    assert "75 s (2/3)" in row_of(lines, content["arms"][1]["arm"])
    assert "mean best" in " ".join(lines[:6])
    assert "mean best (val): mean of the best validation scores of plain's seeds" in lines
    assert lines[-1] == "(2/3): 2 of 3 seeds reach it; a seed of the base's own may miss it, too"
    content["arms"][1].update(seeds_not_reaching=2)
    assert drawn(comparison_tables(content)[1])[-1].startswith("(1/3): 1 of 3 seeds reaches it;")


@pytest.mark.parametrize(("epochs", "cell"), [(8 / 3, "2.7"), (20.0, "20"), (19.98, "20"), (99_999.5, "99999.5")])
def test_the_mean_of_the_epochs_has_one_decimal_at_most(epochs: float, cell: str) -> None:
    content = compared(2)
    content["arms"][1]["epochs"] = epochs
    assert row_of(drawn(comparison_tables(content)[1]), "kd").split()[1:3] == ["3", cell]


@pytest.mark.parametrize(("seconds", "text"), [(3.21, "3.2 s"), (45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_the_budget_says_what_was_tried_and_what_follows(seconds: float, text: str) -> None:
    budgets = [{"arm": "plain", "epochs": 40, "first_epoch": 1.0, "last_epoch": 2.0, "seconds": seconds}]
    line = row_of(drawn(budget_table(budgets, "plain")), "plain")
    assert line.split() == ["plain", *["1.0", "s/epoch", "2.0", "s/epoch"], "40", *text.split()]
