from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.errors import SnowmeltError
from snowmelt.reporting.csv_cells import csv_text, format_cell, parse_cell, read_csv, replace_file


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.floats()))
def test_cells_come_back_exactly(value: float | int | bool | None) -> None:
    back = parse_cell(format_cell(value))
    assert type(back) is type(value)
    assert back == value or (math.isnan(value) and math.isnan(back))


def test_numpy_floats_are_plain() -> None:
    assert format_cell(np.float64(0.1)) == "0.1"


def test_names_with_commas_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    replace_file(path, csv_text(["iou/dog, small", 'iou/"x"'], [{'iou/"x"': 0.5}]))
    assert read_csv(path) == (["iou/dog, small", 'iou/"x"'], [{"iou/dog, small": None, 'iou/"x"': 0.5}])
    assert b"\r" not in path.read_bytes()


def test_unfinished_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("epoch,miou\n0,0.5\n1,0.")
    assert read_csv(path)[1] == [{"epoch": 0, "miou": 0.5}]
    path.write_text("epo")
    assert read_csv(path) == ([], [])


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"gone\.csv"):
        read_csv(tmp_path / "gone.csv")
