"""What decoders of pictures may take of the process: memory for so many pixels at once, and no word on the terminal."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

MAX_PIXELS = 89_478_485
"""Larger pictures are refused as decompression bombs (the limit at which Pillow starts to warn)."""

_PILLOW = r"PIL\."

_free = threading.Condition()
_taken = 0  # pixels that are being decoded in this process


@contextmanager
def room_for(pixels: int) -> Iterator[None]:
    """Wait until threads of this process decode so little that all of it stays within ``MAX_PIXELS`` together.

    A file of some kilobytes can hold the largest picture, and each thread takes up to 20 bytes a pixel on the way.
    """
    global _taken
    with _free:
        _free.wait_for(lambda: _taken == 0 or _taken + pixels <= MAX_PIXELS)
        _taken += pixels
    try:
        yield
    finally:
        with _free:
            _taken -= pixels
            _free.notify_all()


def silence_decoders() -> None:
    """Pass over what Pillow warns of (damaged EXIF, odd tags): what matters of it is found and said by the caller.

    Filters belong to the whole process. Threads that each put them back would undo each other's, so it stays.
    """
    known = (each[0] == "ignore" and getattr(each[3], "pattern", None) == _PILLOW for each in warnings.filters)
    if not any(known):
        warnings.filterwarnings("ignore", module=_PILLOW)


def _forget() -> None:
    """In a forked process nobody is left to give back what other threads had taken."""
    global _free, _taken
    _free, _taken = threading.Condition(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
