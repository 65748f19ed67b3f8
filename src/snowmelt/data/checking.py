"""Running one check per item over a whole source, side by side, and saying what was found in one line."""

from __future__ import annotations

import os
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


def examine_all(
    examine: Callable[[int], _Result], count: int, done: Callable[[int], None] | None = None
) -> list[_Result]:
    """``[examine(0), ..., examine(count - 1)]`` on a few threads (Pillow decodes outside the interpreter lock).

    ``done`` is told now and then how many are through.
    Raises the first ``SnowmeltError`` by index, with the number of further bad items appended.
    """

    def guarded(index: int) -> _Result | SnowmeltError:
        try:
            return examine(index)
        except SnowmeltError as error:
            return error

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
