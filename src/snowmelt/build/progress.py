"""A line now and then about a pass over many images."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 10.0  # between two lines


class ProgressLines:
    """Called with images done, images in all and images per second; says so when the last line is old enough."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what = what
        self._say = say
        self._last = time.monotonic()

    def __call__(self, done: int, total: int, rate: float) -> None:
        now = time.monotonic()
        if now - self._last >= SECONDS and done < total:
            self._last = now
            self._say(f"{self._what}: {done} of {total} images, {rate:.1f} images/s")
