"""``snowmelt evaluate``: what is typed reaches the job, and mistakes are one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snowmelt.jobs
from snowmelt.jobs import EvaluateRequest


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[EvaluateRequest, bool]]:
    found: list[tuple[EvaluateRequest, bool]] = []
    monkeypatch.setattr(snowmelt.jobs, "evaluate_run", lambda request, as_json: found.append((request, as_json)))
    return found


def test_a_run_is_enough(snowmelt_command: Any, requests: Any) -> None:
    assert snowmelt_command("evaluate", "demo").code == 0
    assert requests == [(EvaluateRequest("demo"), False)]


def test_every_option_arrives(snowmelt_command: Any, requests: Any) -> None:
    options = ["--data", "scenes:9", "--split", "val", "--weights", "last", "--worst", "3", "--tolerance", "0.01"]
    answer = snowmelt_command("evaluate", "runs/a", *options, "--device", "cpu", "--output", "out", "--json")
    assert answer.code == 0
    expected = EvaluateRequest("runs/a", "scenes:9", "val", 3, "last", "cpu", Path("out"), 0.01)
    assert requests == [(expected, True)]


def test_mistakes(snowmelt_command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = snowmelt_command("evaluate", "nothing")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error[run-missing]: nothing: there is no such run or weights file; train one first")
    assert answer.err.count("\n") == 1
    assert snowmelt_command("evaluate", "demo", "--split", "all").code == 2
    assert snowmelt_command("evaluate").code == 2
