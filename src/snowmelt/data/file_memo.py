"""Remembering one fact about each of many files, for as long as the file stays as it is."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from snowmelt.data.stored_files import Stamp, stamp_of, write_whole

_MAGIC = b"snowmelt-memo-1\n"  # counted up when what was found out by an older version is to be found out anew
_HEAD = struct.Struct("<IQI")  # bytes of a value, number of records, CRC-32 of the records
_SAVE_AFTER = 30.0  # seconds: what a killed process loses

_Fact = TypeVar("_Fact")


class FileMemo(Generic[_Fact]):
    """Facts by path, each with the stamp that its file had before it was looked at.

    Many processes may use one file: each adds what it found to what is there then, writes aside and renames. Two that
    do so at the same moment lose one's findings, never more. A damaged or foreign file counts as empty.

    Args:
        path: where the facts are kept.
        width: bytes of an encoded fact.
        encode: gives ``width`` bytes, or None for what is not worth keeping.
        decode: the way back.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        encode: Callable[[_Fact], bytes | None],
        decode: Callable[[bytes], _Fact],
    ) -> None:
        self.path = path
        self._encode, self._decode = encode, decode
        self._fact_bytes = width
        self._layout = np.dtype([("key", "<u8", 2), ("stamp", "<i8", 3), ("fact", "V", width)])
        # Records sorted by their keys, and the first halves of the keys alone; read when first needed.
        self._known: tuple[np.ndarray, np.ndarray] | None = None
        self._new: dict[tuple[int, int], tuple[Stamp, bytes]] = {}
        self._saved = time.monotonic()
        self._owner = os.getpid()
        self._lock = threading.Lock()

    def recall(self, file: Path, find: Callable[[], _Fact]) -> _Fact:
        """What is known about ``file``, or what ``find()`` finds and is remembered from then on.

        Whatever ``find`` raises goes through, and nothing is remembered.
        """
        stamp = stamp_of(file)  # before looking, so that a change meanwhile is seen later
        if stamp is None:
            return find()
        key = _key(file)
        known = self._lookup(key)
        if known is not None and known[0] == stamp:
            return self._decode(known[1])
        fact = find()
        encoded = self._encode(fact)
        if encoded is not None:
            self._new[key] = (stamp, encoded)
            if time.monotonic() - self._saved > _SAVE_AFTER:
                self.save()
        return fact

    def save(self) -> None:
        """Write what was found since the last time, if anything was. Only in the process that made this memo."""
        if not self._new or os.getpid() != self._owner or not self._lock.acquire(blocking=False):
            return
        try:
            self._saved = time.monotonic()
            new = dict(self._new)  # one step for the interpreter, whatever other threads add
            records = self._merged(new)
            body = records.tobytes()
            write_whole(self.path, [_MAGIC, _HEAD.pack(self._fact_bytes, len(records), zlib.crc32(body)), body])
            self._known = _with_firsts(records)
            for key, value in new.items():
                if self._new.get(key) == value:
                    del self._new[key]
        finally:
            self._lock.release()

    def _lookup(self, key: tuple[int, int]) -> tuple[Stamp, bytes] | None:
        found = self._new.get(key)
        if found is not None:
            return found
        known = self._known
        if known is None:
            known = self._known = _with_firsts(self._read())
        records, firsts = known
        row = int(np.searchsorted(firsts, np.uint64(key[0])))
        while row < len(firsts) and int(firsts[row]) == key[0]:
            record = records[row]
            if int(record["key"][1]) == key[1]:
                first, second, third = record["stamp"].tolist()
                return (first, second, third), record["fact"].tobytes()
            row += 1
        return None

    def _merged(self, new: dict[tuple[int, int], tuple[Stamp, bytes]]) -> np.ndarray:
        """What lies on the disk by now and the new records, one of each file, sorted by their keys."""
        added = np.empty(len(new), dtype=self._layout)
        added["key"] = np.array(list(new), dtype=np.uint64)
        added["stamp"] = np.array([stamp for stamp, _ in new.values()], dtype=np.int64)
        added["fact"] = np.frombuffer(b"".join(fact for _, fact in new.values()), dtype=self._layout["fact"])
        records = np.concatenate([added, self._read()])
        records = records[np.lexsort((records["key"][:, 1], records["key"][:, 0]))]  # stable: the new one comes first
        repeated = (records["key"][1:] == records["key"][:-1]).all(axis=1)
        return np.ascontiguousarray(records[np.concatenate([[True], ~repeated])])

    def _read(self) -> np.ndarray:
        nothing = np.empty(0, dtype=self._layout)
        try:
            content = self.path.read_bytes()
        except OSError:
            return nothing
        start = len(_MAGIC) + _HEAD.size
        if len(content) < start or not content.startswith(_MAGIC):
            return nothing
        width, count, checksum = _HEAD.unpack_from(content, len(_MAGIC))
        body = memoryview(content)[start:]
        expected = (self._fact_bytes, count * self._layout.itemsize, zlib.crc32(body))
        if (width, len(body), checksum) != expected:
            return nothing
        return np.frombuffer(body, dtype=self._layout)


def _with_firsts(records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return records, np.ascontiguousarray(records["key"][:, 0])


def _key(file: Path) -> tuple[int, int]:
    text = os.path.abspath(file).encode(errors="surrogateescape")
    first, second = struct.unpack("<QQ", hashlib.blake2b(text, digest_size=16).digest())
    return first, second
