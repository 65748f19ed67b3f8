"""Deterministic algorithms: switched, put back, refused in one line. That needs no GPU; that a GPU obeys would."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils.deterministic
from tiny_experiments import tiny

from snowmelt.errors import SnowmeltError
from snowmelt.jobs import train_experiment
from snowmelt.jobs.session import as_asked
from snowmelt.training import deterministic
from snowmelt.training.determinism import CUBLAS


def switches() -> dict[str, Any]:
    filled: Any = torch.utils.deterministic
    return {
        "algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic": torch.backends.cudnn.deterministic,
        "benchmark": torch.backends.cudnn.benchmark,
        "filled": filled.fill_uninitialized_memory,
        "workspace": os.environ.get(CUBLAS),
    }


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)


def refused(job: Callable[[], object]) -> str:
    with pytest.raises(SnowmeltError) as caught:
        job()
    assert caught.value.code == "not-deterministic" and "\n" not in str(caught.value)
    return str(caught.value)


def entered(device: str, processes: int = 1) -> Callable[[], object]:
    return deterministic(True, device, processes).__enter__


def test_everything_is_switched_and_put_back() -> None:
    before = switches()
    with deterministic(True, "cuda"):
        assert switches() == {
            "algorithms": True,
            "deterministic": True,
            "benchmark": False,
            "filled": False,
            "workspace": ":4096:8",
        }
    assert switches() == before
    with pytest.raises(KeyError), deterministic(True, "cuda"):
        raise KeyError
    assert switches() == before


def test_a_cpu_and_whoever_does_not_ask_are_left_alone() -> None:
    before = switches()
    for wanted, device in ((True, "cpu"), (False, "cuda"), (False, "mps")):
        with deterministic(wanted, device, processes=2):
            assert switches() == before


def test_an_operation_without_a_deterministic_version_is_named_in_one_line() -> None:
    """One that has none on the CPU either."""

    def job() -> None:
        with deterministic(True, "cuda"):
            torch.zeros(3).put_(torch.tensor([0]), torch.tensor([1.0]))

    line = refused(job)
    assert line.startswith("training.deterministic: put_ has no deterministic version on cuda; ")
    with pytest.raises(RuntimeError, match="shape"), deterministic(True, "cuda"):
        torch.zeros(3).view(2, 2)  # any other error stays what it was


def test_what_no_switch_can_give_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "MPS" in refused(entered("mps"))
    assert "gloo adds the gradients of 3 processes" in refused(entered("cpu", 3))
    monkeypatch.setenv(CUBLAS, ":0:0")
    assert f"{CUBLAS}=:0:0" in refused(entered("cuda"))


def test_jobs_do_as_the_setting_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snowmelt.jobs.session.resolve_device", lambda device: "cuda")
    with as_asked(tiny(tmp_path, training={"deterministic": True})):
        assert torch.are_deterministic_algorithms_enabled()
    with as_asked(tiny(tmp_path)):
        assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.setattr("snowmelt.jobs.session.resolve_device", lambda device: "mps")
    assert "MPS" in refused(lambda: train_experiment(tiny(tmp_path, training={"deterministic": True})))
    assert not list(tmp_path.iterdir())
