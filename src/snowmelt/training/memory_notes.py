"""A note from a process that ran out of memory to the run that goes on: cut the batches smaller.

One of several processes cannot repeat a step by itself, as the others wait for it in the middle of theirs. So it writes
down what to do, and all stop.
"""

from __future__ import annotations

import json
from pathlib import Path

from snowmelt.disk import named, replacing

PATTERN = "out_of_memory.*.json"
KEY = "micro_batch"


def leave_note(folder: Path, rank: int, micro_batch: int) -> None:
    """Ask for micro-batches of so many images. Each process has a file of its own, as several may fail at once."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / PATTERN.replace("*", str(rank))) as file:
        file.write(json.dumps({KEY: micro_batch}).encode())


def read_notes(folder: Path) -> int | None:
    """The smallest micro-batch that was asked for; ``None`` without a note."""
    return min((json.loads(path.read_bytes())[KEY] for path in folder.glob(PATTERN)), default=None)


def drop_notes(folder: Path) -> None:
    """Once a checkpoint holds what they asked for."""
    with named(folder):
        for path in folder.glob(PATTERN):
            path.unlink()
