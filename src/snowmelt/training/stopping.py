"""Stopping before the end because somebody asked: at the next boundary, all processes at the same one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from signal import Signals

from snowmelt.training.engine import Engine

AGREE_SECONDS = 2.0
"""About how often several processes ask each other. A step that takes longer is followed by asking at once."""


class StopRequest:
    """Asks a run to stop. Safe to use from a signal handler or another thread.

    Attributes:
        signal: what asked; ``None`` while nobody has.
    """

    def __init__(self) -> None:
        self.signal: Signals | None = None
        self._heeded = False

    def ask(self, signal: Signals = Signals.SIGTERM) -> bool:
        """Ask for the end; the first to ask is remembered.

        Returns:
            Whether a run is looking now. Before its first step and after its last it is not: nothing would be saved.
        """
        if self.signal is None:
            self.signal = signal
        return self._heeded

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """While inside, somebody looks after every step."""
        self._heeded = True
        try:
            yield
        finally:
            self._heeded = False


class Stopping:
    """What the loop asks: is this the end? All processes get the same answer at the same place, so none waits for ever.

    One process looks at its own request, at no cost. Several look at each other's every ``AGREE_SECONDS``, counted in
    steps since clocks differ: how many is decided together, from the slowest process's time for a step.
    """

    def __init__(self, engine: Engine, request: StopRequest | None) -> None:
        self._engine = engine
        self._request = request
        self._asked_at = 0  # step of the last time that processes asked each other
        self._next = 0
        self._since = time.perf_counter()
        self.signal: Signals | None = None

    @property
    def asked_here(self) -> bool:
        """Whether this process was asked; the others may not know yet."""
        return self._request is not None and self._request.signal is not None

    def after_step(self, step: int) -> bool:
        """Whether all stop after optimizer step ``step``."""
        if self._engine.world_size > 1 and step < self._next:
            return False
        return self.at_boundary(step)

    def at_boundary(self, step: int) -> bool:
        """The same between two phases, where asking each other costs nothing that counts."""
        if self._request is None:
            return False
        if self._engine.world_size == 1:
            self.signal = self._request.signal
        else:
            self._agree(step, self._request)
        return self.signal is not None

    def _agree(self, step: int, request: StopRequest) -> None:
        own = 0 if request.signal is None else request.signal.value
        steps = max(step - self._asked_at, 1)
        number, seconds = self._engine.largest(own, (time.perf_counter() - self._since) / steps)
        self.signal = Signals(int(number)) if number else None
        self._asked_at, self._since = step, time.perf_counter()
        self._next = step + max(1, int(AGREE_SECONDS / max(seconds, 1e-6)))
