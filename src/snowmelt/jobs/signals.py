"""SIGTERM and SIGINT for a command: the first asks for an end, the second is one. It imports next to nothing.

A library leaves signals alone, so only commands catch them; a program of your own may, with ``catching_signals``.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from signal import Signals
from types import FrameType

from snowmelt.errors import Stopped

CAUGHT = (Signals.SIGTERM, Signals.SIGINT)
SAME_SECONDS = 0.1
"""Signals that follow each other faster are one: a terminal and whoever started the command may both have sent it."""

Ask = Callable[[Signals], bool]
"""Takes the signal; whether somebody will act on it soon."""


def exit_code(number: Signals) -> int:
    """As a shell reports a process that a signal has ended: 143 for SIGTERM, 130 for SIGINT."""
    return 128 + number


class Interrupted(SystemExit):
    """Raised where the command is when a signal comes and no training loop looks out for it.

    As a ``SystemExit`` it passes whatever handles errors, closes and removes on its way out what is half done, and
    leaves the right exit code.
    """

    def __init__(self, number: Signals) -> None:
        super().__init__(exit_code(number))
        self.signal = number


class CaughtSignals:
    """What came while a command ran.

    Attributes:
        first: the first signal; ``None`` while there was none.
    """

    def __init__(self) -> None:
        self.first: Signals | None = None
        self.ask: Ask | None = None

    def handle(self, number: int, frame: FrameType | None = None) -> None:
        """The first is handed on or raised. For the second see ``_watch``."""
        if self.first is not None:
            return
        self.first = Signals(number)
        if self.ask is None or not self.ask(self.first):
            raise Interrupted(self.first)


_current: CaughtSignals | None = None


@contextmanager
def catching_signals() -> Iterator[CaughtSignals]:
    """Catch SIGTERM and SIGINT while inside; what was there before is back afterwards.

    The first raises ``Interrupted`` in the main thread, or is handed to a training loop (``handed_to``). The second
    ends the process at once with 128 and its number, even where the main thread waits for other processes: files are
    written aside and renamed, so it leaves the old ones. A signal that is ignored stays ignored. Outside of
    the main thread nothing is caught.
    """
    global _current
    caught = CaughtSignals()
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    handlers = {number: signal.getsignal(number) for number in CAUGHT}
    numbers = [number for number in CAUGHT if handlers[number] is not signal.SIG_IGN]
    before, _current = _current, caught
    with _watching(numbers):
        for number in numbers:
            signal.signal(number, caught.handle)
        try:
            yield caught
        finally:
            for number in numbers:
                signal.signal(number, handlers[number])
            _current = before


@contextmanager
def handed_to(ask: Ask) -> Iterator[None]:
    """Hand the first signal to ``ask`` while inside, where signals are caught at all.

    Raises:
        Interrupted: on the way out, when a signal came that nobody has acted on.
    """
    caught = _current
    if caught is None:
        yield
        return
    caught.ask = ask
    try:
        yield
    finally:
        caught.ask = None
    if caught.first is not None:
        raise Interrupted(caught.first)


@contextmanager
def going_on_by_itself() -> Iterator[None]:
    """For a job that has no ``--resume``, as it goes on with what is there in any case: says so when it is stopped."""
    try:
        yield
    except Stopped as stopped:
        raise Stopped(str(stopped).replace("--resume", "the same command"), stopped.signal) from None


@contextmanager
def _watching(numbers: list[Signals]) -> Iterator[None]:
    """A thread that sees every signal, since Python's own handlers wait for the main thread to come out of C code."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # which the interpreter asks for
    threading.Thread(target=_watch, args=(reader, numbers), name="snowmelt-signals", daemon=True).start()
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        with suppress(ValueError):  # the descriptor of before may be closed by now
            signal.set_wakeup_fd(before)
        os.close(writer)  # ends the thread


def _watch(reader: int, numbers: list[Signals]) -> None:
    first: float | None = None
    with os.fdopen(reader, "rb", buffering=0) as file:
        while found := file.read(1):
            if found[0] not in numbers:
                continue
            now = time.monotonic()
            if first is not None and now - first >= SAME_SECONDS:
                os._exit(exit_code(Signals(found[0])))
            first = now if first is None else first


def _leave_to_the_parent() -> None:
    """In a forked process, of a data loader: a terminal's Ctrl-C is for the command, which then ends this process."""
    if _current is None:
        return
    writer = signal.set_wakeup_fd(-1)  # or this process's signals would be taken for the command's
    if writer >= 0:
        os.close(writer)
    for number in CAUGHT:
        if signal.getsignal(number) == _current.handle:
            signal.signal(number, signal.SIG_IGN if number == Signals.SIGINT else signal.SIG_DFL)


os.register_at_fork(after_in_child=_leave_to_the_parent)
