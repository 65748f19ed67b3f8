"""A file of TensorBoard events, written at once and whole.

TensorBoard's own writer does so in a thread, which a full disk ends with a traceback and a record cut in half.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snowmelt.disk import GrowingFile

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

_numbers = itertools.count()


class EventFile:
    """A new event file in ``folder``. What older files there say from ``purge_step`` on is void.

    Raises:
        WriteError: it cannot be made or written; a record is in it whole or not at all.
    """

    def __init__(self, folder: Path, purge_step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import SessionLog

        _wait_for_a_new_name(folder)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}"
        self._file = GrowingFile(folder / name)
        self._file.add(
            _record(file_version="brain.Event:2")
            + _record(step=purge_step, session_log=SessionLog(status=SessionLog.START))
        )

    @property
    def is_there(self) -> bool:
        """Whether the file is still found under its name."""
        return self._file.is_there

    def add(self, summaries: list[Summary], step: int) -> None:
        """Figures or pictures of one step."""
        self._file.add(b"".join(_record(step=step, summary=each) for each in summaries))

    def close(self) -> None:
        self._file.close()


def _record(**fields: Any) -> bytes:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    buffer = io.BytesIO()
    RecordWriter(buffer).write(Event(wall_time=time.time(), **fields).SerializeToString())
    return buffer.getvalue()


def _wait_for_a_new_name(folder: Path) -> None:
    """TensorBoard reads event files in the order of their names, which begin with the second.

    Two files of one second may be read in the wrong order, and then the older one voids the newer.
    """
    stamps = [re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in folder.glob("events.out.*")]
    newest = max((int(stamp[1]) for stamp in stamps if stamp), default=0)
    if newest == int(time.time()):
        time.sleep(newest + 1 - time.time())
