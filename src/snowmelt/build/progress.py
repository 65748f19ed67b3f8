"""A line now and then about a pass over many images."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 10.0  # between two lines


class ProgressLines:
    """Called with images done, images in all and images per second; says so when the last line is old enough.

    In all 0: nobody knows how many there will be.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._last = time.monotonic()

    def __call__(self, done: int, total: int, rate: float) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS and (done < total or not total):
            self._last = now
            count = f"{done} of {total} images" if total else f"{done} image{'s' if done != 1 else ''}"
            self._say(f"{self._what}: {count}, {rate:.1f} images/s")
