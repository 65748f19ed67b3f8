"""Outcomes of runs: kept as plain JSON, read whatever lies there, and compared like with like."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from snowmelt.jobs.records import all_records, best_plain, is_finished, read_record, write_record
from snowmelt.reporting import RunFolder

PLAIN = {"distills": False, "data": "d1", "image_size": 64, "encoder": "small", "best_miou": 0.5}


def write(output: Path, name: str, **changes: Any) -> Path:
    root = output / name
    root.mkdir(parents=True)
    write_record(RunFolder(root), {**PLAIN, **changes})
    return root


def test_a_record_comes_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    root = write(tmp_path, "run")
    assert read_record(root) == PLAIN
    assert [path.name for path in root.iterdir()] == ["summary.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_number_is_null(value: float, tmp_path: Path) -> None:
    root = write(tmp_path, "run", best_miou=value)
    assert read_record(root) == {**PLAIN, "best_miou": None}
    json.loads((root / "summary.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"3", b"\xff\xfe"])
def test_what_is_no_record_is_none(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "summary.json").write_bytes(content)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize(
    ("record", "max_steps", "finished"),
    [
        (None, None, False),
        (None, 1, False),
        ({"reason": "complete"}, None, True),
        ({"reason": "complete"}, 99, True),
        ({"reason": "plateau"}, None, True),
        ({"reason": "max_steps", "step": 3}, None, False),
        ({"reason": "max_steps", "step": 3}, 4, False),
        ({"reason": "max_steps", "step": 3}, 3, True),
        ({"reason": "max_steps", "step": 3}, 2, True),
        ({"reason": None}, 1, False),
        ({}, None, False),
    ],
)
def test_a_run_is_finished_when_nothing_is_left_to_do(record: Any, max_steps: int | None, finished: bool) -> None:
    assert is_finished(record, max_steps) is finished


def test_all_records_below_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "b")
    write(tmp_path, "a")
    write(tmp_path / "teachers", "t")
    (tmp_path / "unfinished").mkdir()
    assert [path.name for path, _ in all_records(tmp_path)] == ["a", "b"]
    assert list(all_records(tmp_path / "nowhere")) == []


def test_the_best_plain_run_of_the_same_kind(tmp_path: Path) -> None:
    assert best_plain(tmp_path, "d1", 64, "small") is None
    write(tmp_path, "distilled", distills=True, best_miou=0.9)
    write(tmp_path, "other data", data="d2", best_miou=0.9)
    write(tmp_path, "other size", image_size=128, best_miou=0.9)
    write(tmp_path, "other encoder", encoder="large", best_miou=0.9)
    write(tmp_path, "no score", best_miou=None)
    assert best_plain(tmp_path, "d1", 64, "small") is None
    write(tmp_path, "worse", best_miou=0.4)
    best = write(tmp_path, "better", best_miou=0.6)
    write(tmp_path, "middling")
    assert best_plain(tmp_path, "d1", 64, "small") == (best, 0.6)
