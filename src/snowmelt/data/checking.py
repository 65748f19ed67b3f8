"""Running one check per item over a whole source, side by side, and saying what was found in one line."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from snowmelt.errors import SnowmeltError

_Result = TypeVar("_Result")

_PIECE = 64  # items that a thread takes at once: a future for each of a million items would take a gigabyte


def examine_all(examine: Callable[[int], _Result], count: int) -> list[_Result]:
    """``[examine(0), ..., examine(count - 1)]`` on a few threads (Pillow decodes outside the interpreter lock).

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
        results = [result for found in pool.map(piece, range(0, count, _PIECE)) for result in found]
    errors = [result for result in results if isinstance(result, SnowmeltError)]
    if len(errors) > 1:
        others = len(errors) - 1
        raise SnowmeltError(f"{errors[0]} (and {others} more bad file{'s' if others > 1 else ''})")
    if errors:
        raise errors[0]
    return [result for result in results if not isinstance(result, SnowmeltError)]
