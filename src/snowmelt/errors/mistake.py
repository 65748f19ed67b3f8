"""The one exception that means "the user can mend this"."""

from __future__ import annotations

from typing import Any


class SnowmeltError(ValueError):
    """A mistake in what was given: settings, data, files or flags.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback, as ``error[CODE]: message``, and exits with code 1; a library caller catches it as a ``ValueError``.

    Args:
        code: which kind of mistake it is, a key of ``CODES``. It stays the same where the words of a message change,
            and does not depend on whether a command or a function met the mistake.
    """

    code: str

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """What an exception does by itself, calling its class with ``args``, would lack the code.

        Errors are copied, and those of data-loading workers come from another process.
        """
        return _again, (type(self), self.args), self.__dict__


def _again(kind: type[SnowmeltError], args: tuple[Any, ...]) -> SnowmeltError:
    return kind.__new__(kind, *args)  # sets ``args``; all else comes with the state
