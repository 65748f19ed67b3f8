"""No mistake: somebody asked for an end, and here it is."""

from __future__ import annotations

from signal import Signals


class Stopped(Exception):
    """A run has stopped because it was asked to, and its checkpoint is written.

    The message is one line that says where it stopped and how to go on. The command line prints it and exits with 128
    and the signal's number, as a shell reports a signal.

    Attributes:
        signal: what asked for it.
    """

    def __init__(self, message: str, signal: Signals) -> None:
        super().__init__(message)
        self.signal = signal
