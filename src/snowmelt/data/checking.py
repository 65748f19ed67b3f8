"""Running one check per item over a whole source, side by side, and saying what was found in one line."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from snowmelt.errors import SnowmeltError

_Result = TypeVar("_Result")

_PIECE = 64  # items that a thread takes at once: a future for each of a million items would take a gigabyte


class BadFiles(SnowmeltError):
    """Says what is wrong with the first of some files, and counts the others; those of other such errors, too.

    The code is that of the first.
    """

    def __init__(self, errors: Sequence[SnowmeltError]) -> None:
        self.errors: list[SnowmeltError] = []
        for error in errors:
            self.errors += error.errors if isinstance(error, BadFiles) else [error]
        others = len(self.errors) - 1
        more = f" (and {others} more bad file{'s' if others > 1 else ''})" if others else ""
        super().__init__(f"{self.errors[0]}{more}", code=self.errors[0].code)
        for note in getattr(self.errors[0], "__notes__", ()):
            self.add_note(note)


def fault_at(name: str, error: Exception) -> SnowmeltError:
    """An error of any kind at one image, as one line that names it; the way there is kept as a note (``--debug``)."""
    told = SnowmeltError(
        f"{name}: {fault_text(error)}; take it out of the data, or see with --debug where it happened",
        code="loading-failed",
    )
    told.add_note("".join(traceback.format_exception(error)))
    return told


def fault_text(error: Exception) -> str:
    """``reading it failed with`` the error's type and words, in one line."""
    what = " ".join(str(error).split())
    return f"reading it failed with {type(error).__name__}{': ' if what else ''}{what}"


def examine_all(
    examine: Callable[[int], _Result],
    count: int,
    name: Callable[[int], str],
    done: Callable[[int], None] | None = None,
) -> list[_Result]:
    """``[examine(0), ..., examine(count - 1)]`` on a few threads (Pillow decodes outside the interpreter lock).

    ``name`` is what a person calls an item; ``done`` is told now and then how many are through.
    Raises the first ``SnowmeltError`` by index, with the number of further bad items appended; any other error counts
    as one that names its item.
    """

    def guarded(index: int) -> _Result | SnowmeltError:
        try:
            return examine(index)
        except SnowmeltError as error:
            return error
        except Exception as error:
            return fault_at(name(index), error)

    def piece(first: int) -> list[_Result | SnowmeltError]:
        return [guarded(index) for index in range(first, min(count, first + _PIECE))]

    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results: list[_Result | SnowmeltError] = []
        for found in pool.map(piece, range(0, count, _PIECE)):
            results += found
            if done is not None:
                done(len(results))
    errors = [result for result in results if isinstance(result, SnowmeltError)]
    if errors:
        raise BadFiles(errors)
    return [result for result in results if not isinstance(result, SnowmeltError)]


def all_or_errors(parts: Iterable[Callable[[], _Result]]) -> list[_Result]:
    """What each of the calls gives. All are made, so that ``BadFiles`` counts what any of them stumbled over."""
    results: list[_Result] = []
    errors: list[SnowmeltError] = []
    for part in parts:
        try:
            results.append(part())
        except SnowmeltError as error:
            errors.append(error)
    if errors:
        raise BadFiles(errors)
    return results
