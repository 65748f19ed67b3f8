"""The one exception that means "the user can mend this"."""

from __future__ import annotations


class SnowmeltError(ValueError):
    """A mistake in what was given: settings, data, files or flags.

    The message is one line that says what is wrong, where, and what to do. The command line prints it without a
    traceback and exits with code 1; a library caller catches it as a ``ValueError``.
    """
