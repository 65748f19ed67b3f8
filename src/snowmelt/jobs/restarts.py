"""Processes that ``torchrun --max-restarts`` has started again: their run goes on, whatever the command line says."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from snowmelt.errors import SnowmeltError
from snowmelt.reporting import RunFolder
from snowmelt.training.restarting import restart_count

SEVERAL = "GROUP_WORLD_SIZE"  # machines
ANY = "none"  # what torchrun calls a launch without an --rdzv-id


def launcher() -> str | None:
    """Tells this ``torchrun`` from every other; ``None`` where none has started this process.

    Its own name for a launch is not enough: without ``--rdzv-id`` all have the same. Its process lives on while it
    starts others anew.
    """
    launch = os.environ.get("TORCHELASTIC_RUN_ID")
    return None if launch is None else f"{launch} {socket.gethostname()} {os.getppid()}"


def is_restarted(root: Path) -> bool:
    """Whether the run in ``root`` was begun by this ``torchrun``, which has since started its processes anew.

    Anybody else's run is not taken: a first start that was refused, since a run is there, is refused again.
    """
    folder, own = RunFolder(root), launcher()
    # On several machines only those count a restart on which a process failed.
    restarted = restart_count() > 0 or int(os.environ.get(SEVERAL, "1")) > 1
    if own is None or not restarted or not folder.config_file.exists():
        return False
    try:
        begun = folder.read_provenance().get("launcher")
    except SnowmeltError:  # it will be said where it matters
        return False
    return isinstance(begun, str) and _same(begun, own)


def _same(begun: str, own: str) -> bool:
    (launch, *place), (own_launch, *own_place) = begun.rsplit(" ", 2), own.rsplit(" ", 2)
    # After a machine was lost, the process that writes may be on another one, and then only the name is left.
    return begun == own or (launch == own_launch != ANY and place[:1] != own_place[:1])
