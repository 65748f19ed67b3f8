"""The contender's side of taking turns: a gate after every step, which opens for as many steps as were granted."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


class Gate:
    """Counts steps and holds the loop up between two turns.

    A loop calls :meth:`passed` after each optimizer step, and :meth:`pause` when an epoch is over. The first step of
    all says that the contender is ready. A turn begins with some steps that are not timed: what was loaded ahead
    while the loop stood still has to be used up. Nor is the first step of an epoch, or what happens between two.

    Requests come by stdin and answers go by stdout, a line of JSON each; what else is printed goes to stderr.

    Args:
        synchronise: waits until the device has done what it was given; a clock is read after it alone.
        requests, answers: other streams, and ``clock`` another clock, for a test.

    Attributes:
        thaw: called with the number of blocks that a turn asks for, when it differs from the last turn's.
        about: told when the contender is ready.
    """

    def __init__(
        self,
        synchronise: Callable[[], None] = lambda: None,
        requests: TextIO | None = None,
        answers: TextIO | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.thaw: Callable[[int], None] | None = None
        self.about: dict[str, Any] = {}
        self._synchronise = synchronise
        self._now = clock
        self._requests = requests or sys.stdin
        if answers is None:
            answers = os.fdopen(os.dup(1), "w")
            os.dup2(2, 1)
        self._answers = answers
        self._begun = False
        self._thawed: int | None = None
        self._cold = self._left = self._images = 0
        self._seconds = self._mark = 0.0

    def passed(self, images: int) -> None:
        """A step with so many images is done. Returns when there is leave for another one."""
        if not self._begun:
            self._begun = True
            self._answer(self.about)
            self._wait()
        elif self._cold > 0:
            self._cold -= 1
            if self._cold == 0:
                self._mark = self._clock()
        else:
            self._images += images
            self._left -= 1
            if self._left == 0:
                self._seconds += self._clock() - self._mark
                self._answer({"seconds": self._seconds, "images": self._images})
                self._wait()

    def pause(self) -> None:
        """An epoch is over: the clock stands still until the first step of the next one is done."""
        if self._begun and self._cold == 0:
            self._seconds += self._clock() - self._mark
            self._cold = 1

    def _wait(self) -> None:
        line = self._requests.readline()
        if not line:
            raise SystemExit(0)  # the script is done, or gone
        request = json.loads(line)
        self._cold, self._left = max(1, request["cold"]), request["steps"]
        self._seconds, self._images = 0.0, 0
        thawed = request.get("thawed")
        if thawed is not None and thawed != self._thawed:
            self._thawed = thawed
            if self.thaw is not None:
                self.thaw(thawed)

    def _clock(self) -> float:
        self._synchronise()
        return self._now()

    def _answer(self, answer: dict[str, Any]) -> None:
        self._answers.write(json.dumps(answer) + "\n")
        self._answers.flush()
