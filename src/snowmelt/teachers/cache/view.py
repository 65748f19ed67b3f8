"""Stored answers as the data room wants them: by the index of a picture."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from snowmelt.teachers.cache.encoding import Encoding
from snowmelt.teachers.cache.shards import Rows

_MOST_OPEN = 128  # each mapping holds a file descriptor, and a process may have about a thousand


class StoredMapView:
    """A ``MapStore`` over a cache's shards: ``read(i)`` gives the planes of the i-th picture.

    Pickles to paths and positions; each process maps shards when it first needs them, so any number of them read at
    once and share the memory. A read copies one row and takes a few microseconds.

    Args:
        places: for each picture the number of its shard and its row there.
    """

    def __init__(self, encoding: Encoding, shards: Sequence[Rows], places: np.ndarray) -> None:
        self.encoding = encoding
        self._shards = tuple(shards)
        self._places = places  # (pictures, 2) int64
        self._open: OrderedDict[int, np.ndarray] = OrderedDict()  # the least recently used first

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Side in pixels of the letterboxed square that the maps cover."""
        return self.encoding.size

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        """The planes of picture ``index``, in memory of their own. ``SnowmeltError`` where its file is gone."""
        number, row = self._places[index]
        return self.encoding.split(np.array(self._mapped(int(number))[row]))

    def _mapped(self, number: int) -> np.ndarray:
        mapped = self._open.get(number)
        if mapped is None:
            mapped = self._open[number] = self._shards[number].open()
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(number)
        return mapped

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}
