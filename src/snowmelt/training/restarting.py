"""Processes that ``torchrun --max-restarts`` starts anew, and how they find each other and not those of before."""

from __future__ import annotations

import os
from datetime import timedelta

import torch

from snowmelt.errors import SnowmeltError

COUNT = "TORCHELASTIC_RESTART_COUNT"


def restart_count() -> int:
    """How often this process's ``torchrun`` has started its processes anew; 0 without one."""
    return int(os.environ.get(COUNT, "0"))


def refuse_shared_store() -> None:
    """On several machines the count of restarts is not the same everywhere, so nothing tells their processes apart.

    Raises:
        SnowmeltError: restarts are allowed and would hang.
    """
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    several = int(os.environ.get("GROUP_WORLD_SIZE", "1")) > 1
    if shared and several and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0:
        raise SnowmeltError(
            "--max-restarts on several machines: processes that torchrun starts anew would wait for those of before "
            "(pytorch issue 135712); export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before torchrun, or leave the option "
            "out and start the command again with --resume",
            code="processes-restart",
        )


def join_restarted(backend: str, patience: timedelta) -> None:
    """Make the process group of processes that were started anew; the first ones make theirs elsewhere.

    torchrun keeps one store of addresses for all its restarts (pytorch issue 135712). Under the names of before lie the
    addresses of before, and whoever looks there waits for processes that are gone.
    """
    count = restart_count()
    if count == 0 or torch.distributed.is_initialized():
        return
    store, rank, processes = next(torch.distributed.rendezvous("env://", timeout=patience))
    own = torch.distributed.PrefixStore(f"snowmelt-restart-{count}", store)
    torch.distributed.init_process_group(backend, store=own, rank=rank, world_size=processes, timeout=patience)
