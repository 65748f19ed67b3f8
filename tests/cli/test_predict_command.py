"""``snowmelt predict`` as a shell calls it: flags to request, and exit codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import snowmelt.jobs
from snowmelt.jobs import PredictRequest

Requests = list[tuple[PredictRequest, bool]]


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    """What was asked for, in place of doing it; ``bad.jpg`` cannot be read."""
    found: Requests = []

    def note(request: PredictRequest, as_json: bool) -> dict[str, Any]:
        found.append((request, as_json))
        return {"failed": [each for each in request.inputs if each.name == "bad.jpg"]}

    monkeypatch.setattr(snowmelt.jobs, "predict_pictures", note)
    return found


def test_a_run_is_all_it_needs(snowmelt_command: Any, requests: Requests) -> None:
    assert snowmelt_command("predict", "demo").code == 0
    assert requests == [(PredictRequest("demo"), False)]


def test_every_flag_arrives(snowmelt_command: Any, requests: Requests) -> None:
    answer = snowmelt_command(
        *("predict", "demo", "a.jpg", "folder", "--output", "out", "--save", "probabilities,mask", "--tile", "512"),
        *("--overlap", "0.5", "--flip", "--batch-size", "3", "--weights", "last", "--device", "cpu", "--frames"),
        *("--overwrite", "--json"),
    )
    assert answer.code == 0
    [(request, as_json)] = requests
    assert as_json
    assert request == PredictRequest(
        source="demo",
        inputs=(Path("a.jpg"), Path("folder")),
        output=Path("out"),
        save=("mask", "probabilities"),
        tile=512,
        overlap=0.5,
        flip=True,
        batch_size=3,
        weights="last",
        device="cpu",
        frames=True,
        overwrite=True,
    )
    snowmelt_command("predict", "demo", "--resume")
    assert requests[1][0].resume


def test_exit_codes(snowmelt_command: Any, requests: Requests) -> None:
    assert snowmelt_command("predict", "demo", "good.jpg", "bad.jpg").code == 1
    assert snowmelt_command("predict").code == 2
    assert snowmelt_command("predict", "demo", "--overlap", "0.9").code == 2
    answer = snowmelt_command("predict", "demo", "--tile", "100")
    assert (answer.code, answer.err) == (
        1,
        "error[option-value]: --tile 100: a tile's side must be a multiple of 32; take 96\n",
    )


def test_a_run_that_is_not_there_is_one_line(snowmelt_command: Any, tmp_path: Path) -> None:
    answer = snowmelt_command("predict", str(tmp_path / "missing"))
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 1 and "missing" in answer.err
