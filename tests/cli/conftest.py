"""The commands as a shell would call them, but in this process: arguments in, exit code and both outputs back."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import snowmelt.jobs
from snowmelt.cli.app import app, run
from snowmelt.cli.staged import staged
from snowmelt.config import ExperimentConfig


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


Command = Callable[..., Answer]


def _command(name: str, command: Any, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> Command:
    patch.setenv("COLUMNS", "120")
    patch.setenv("TERM", "dumb")
    patch.setenv("SNOWMELT_DEBUG", "")  # what --debug sets is taken back after the test

    def call(*arguments: str) -> Answer:
        patch.setattr(sys, "argv", [name, *arguments])
        capsys.readouterr()
        code = run(command)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


@pytest.fixture
def snowmelt_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return _command("snowmelt", app, capsys, monkeypatch)


@pytest.fixture
def staged_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return _command("train_distillation_staged.py", staged, capsys, monkeypatch)


@dataclass
class Asked:
    """The jobs that were asked for, in place of doing them."""

    jobs: list[tuple[str, ExperimentConfig | None, dict[str, Any]]]

    @property
    def only(self) -> tuple[str, Any, dict[str, Any]]:
        [job] = self.jobs
        return job


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    found = Asked([])

    def note(name: str) -> Callable[..., None]:
        def job(config: ExperimentConfig | None = None, *arguments: Any, **options: Any) -> None:
            found.jobs.append((name, config, {**options, **({"form": arguments[0]} if arguments else {})}))

        return job

    for name in ("train_experiment", "score_run", "teach_experiment", "plan_experiment", "run_demo"):
        monkeypatch.setattr(snowmelt.jobs, name, note(name))
    return found
