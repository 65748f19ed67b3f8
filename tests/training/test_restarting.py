"""Processes that torchrun starts anew; that they find each other is in tests/jobs/test_restarts.py."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.training.restarting import join_restarted, refuse_shared_store, restart_count


@pytest.mark.parametrize("change", [{}, {"GROUP_WORLD_SIZE": "1"}, {"TORCHELASTIC_MAX_RESTARTS": "0"}])
@pytest.mark.parametrize("shared", ["True", "False"])
def test_restarts_on_several_machines_need_a_store_of_their_own(
    change: dict[str, str], shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = {"GROUP_WORLD_SIZE": "2", "TORCHELASTIC_MAX_RESTARTS": "3", "TORCHELASTIC_USE_AGENT_STORE": shared}
    for name, value in {**several, **change}.items():
        monkeypatch.setenv(name, value)
    if change or shared == "False":
        refuse_shared_store()
        return
    with pytest.raises(SnowmeltError, match="export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun"):
        refuse_shared_store()


def test_first_processes_make_their_group_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *_, **__: pytest.fail("looked for others"))
    join_restarted("gloo", timedelta(seconds=1))
    assert restart_count() == 0
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "2")
    assert restart_count() == 2
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    join_restarted("gloo", timedelta(seconds=1))
