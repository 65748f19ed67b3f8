"""What torch and its threads are told, and what a user said before stays."""

from __future__ import annotations

import os
from typing import Any

import pytest

from snowmelt.cli.processor import suit_the_processor


def test_torch_is_told_how_to_allocate_unless_the_user_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "THP_MEM_ALLOC_ENABLE"
    monkeypatch.delenv(name, raising=False)
    suit_the_processor()
    assert os.environ[name] == "1"
    monkeypatch.setenv(name, "mine")
    suit_the_processor()
    assert os.environ[name] == "mine"


@pytest.mark.parametrize(("load", "policy"), [(0.1, None), (10_000.0, "PASSIVE"), (OSError(), None)])
def test_threads_sleep_on_a_busy_machine(load: Any, policy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def loads() -> tuple[float, float, float]:
        if isinstance(load, OSError):
            raise load
        return (load, 0.0, 0.0)

    name = "OMP_WAIT_POLICY"
    monkeypatch.setattr(os, "getloadavg", loads)
    monkeypatch.setenv(name, "ACTIVE")
    suit_the_processor()
    assert os.environ[name] == "ACTIVE"
    monkeypatch.delenv(name)
    suit_the_processor()
    assert os.environ.get(name) == policy
