"""``snowmelt export`` and ``benchmark``: their flags reach the jobs, and what they cannot use is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snowmelt.jobs


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, bool]]:
    """What was asked for, in place of doing it."""
    found: list[tuple[Any, bool]] = []
    monkeypatch.setattr(snowmelt.jobs, "export_run", lambda request, as_json: found.append((request, as_json)))
    return found


def test_without_flags_it_is_onnx_of_any_size(snowmelt_command: Any, exports: list[tuple[Any, bool]]) -> None:
    assert snowmelt_command("export", "demo").code == 0
    [(request, as_json)] = exports
    assert (request.source, request.format, request.int8, request.size) == ("demo", "onnx", False, None)
    assert (request.bake_normalisation, request.output, request.card, request.force) == (False, None, False, False)
    assert not as_json


def test_every_flag_arrives(snowmelt_command: Any, exports: list[tuple[Any, bool]]) -> None:
    flags = ["--quantize", "int8", "--size", "96", "--bake-normalisation", "--output", "x.onnx", "--card", "--force"]
    assert snowmelt_command("export", "demo", *flags, "--license", "MIT", "--json").code == 0
    [(request, as_json)] = exports
    assert request.licence == "MIT"
    assert (request.int8, request.size, request.output) == (True, (96, 96), Path("x.onnx"))
    assert request.bake_normalisation and request.card and request.force and as_json
    assert request.marks == "-96x96-pixels-int8"


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--format", "tflite"], 2, "Invalid value"),
        (["--quantize", "int4"], 2, "Invalid value"),
        (["--size", "wide"], 1, "error[option-value]: --size 'wide': give HxW in pixels"),
        (["--license", "mit"], 1, "error[option-unused]: --license stands in a model card; add --card"),
        (["--card", "--license", "my own"], 1, "error[option-value]: --license 'my own': give an SPDX identifier"),
        (["--format", "safetensors", "--size", "64"], 1, "error[option-unused]: --size is for ONNX files"),
    ],
)
def test_what_cannot_be_is_refused(
    flags: list[str], code: int, message: str, snowmelt_command: Any, exports: list[tuple[Any, bool]]
) -> None:
    answer = snowmelt_command("export", "demo", *flags)
    assert (answer.code, answer.out) == (code, "")
    assert message in answer.err
    assert not exports


def test_a_run_that_is_not_there_is_one_line(snowmelt_command: Any, tmp_path: Path) -> None:
    answer = snowmelt_command("export", str(tmp_path / "nowhere"))
    assert answer.code == 1
    assert answer.err.startswith("error[run-missing]: ")
    assert answer.err.count("\n") == 1


def test_benchmark_hands_its_flags_on(snowmelt_command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[Any, bool]] = []
    monkeypatch.setattr(snowmelt.jobs, "benchmark_run", lambda request, as_json: found.append((request, as_json)))
    flags = ["--size", "64x96", "--batch", "4", "--threads", "2", "--rounds", "9", "--json"]
    assert snowmelt_command("benchmark", "demo", *flags).code == 0
    assert snowmelt_command("benchmark", "demo").code == 0
    (full, as_json), (bare, _) = found
    assert (full.source, full.size, full.batch, full.threads, full.rounds) == ("demo", (64, 96), 4, 2, 9)
    assert as_json
    assert (bare.size, bare.batch, bare.threads, bare.rounds) == (None, 1, None, 30)
    assert snowmelt_command("benchmark", "demo", "--batch", "0").code == 2
