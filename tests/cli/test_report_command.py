from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snowmelt.jobs


def test_arguments_reach_the_job(snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(snowmelt.jobs, "report_run", lambda run, **options: asked.append((run, options)))
    assert snowmelt_command("report", "a-run").code == 0
    assert snowmelt_command("report", "a-run", "--open", "--output", "x.html").code == 0
    assert asked == [
        ("a-run", {"output": None, "opens": False}),
        ("a-run", {"output": Path("x.html"), "opens": True}),
    ]


def test_a_run_that_is_not_there(snowmelt_command: Any) -> None:
    answer = snowmelt_command("report", "no/such/run")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("error[run-missing]: no/such/run: there is no such run")
    assert answer.err.count("\n") == 1
    assert snowmelt_command("report").code == 2
