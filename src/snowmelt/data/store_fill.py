"""Filling an image store: one pass over what it lacks, which is also the check of those files."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from snowmelt.data.checking import BadFiles, fault_at
from snowmelt.data.samples import Source, StorableSource, SubsetSource
from snowmelt.data.store import ImageStore
from snowmelt.data.threads import compute_alone
from snowmelt.data.working import Working, load_working
from snowmelt.errors import SnowmeltError

SHARD_BYTES = 256 << 20
SHARD_SECONDS = 60.0
"""A shard is written when either is reached, so a killed pass loses a minute and a long one makes few files."""

_PROBES = 8  # pictures that are looked at for an estimate

Progress = Callable[[int, int, float], None]  # done, in all, images per second since the start


def can_be_stored(source: Source) -> bool:
    """Whether all of a source is a ``StorableSource``."""
    if isinstance(source, SubsetSource):
        return can_be_stored(source.source)
    return isinstance(source, StorableSource)


def fill_store(
    store: ImageStore,
    source: Source,
    keys: Sequence[str],
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
    shard_seconds: float = SHARD_SECONDS,
) -> int:
    """Store what is missing of the source, whose keys are given in order. Can be killed and called again.

    Returns the number of pictures that were read.

    Raises:
        SnowmeltError: names the first picture that is unusable and counts the others; the good ones are stored.
        OSError: the folder cannot be written, or the disk is full.
    """
    first = {key: index for index, key in reversed(list(enumerate(keys)))}  # equal pictures are stored once
    wanted = store.missing(keys)
    errors: list[SnowmeltError] = []
    ready: dict[str, Working] = {}
    start = since = time.monotonic()
    size, threads = 0, min(8, os.cpu_count() or 1)

    def load(key: str) -> Working | SnowmeltError:
        try:
            return load_working(source, first[key], store.side, store.exact)
        except SnowmeltError as error:
            return error
        except Exception as error:
            return fault_at(source.name(first[key]), error)

    with ThreadPoolExecutor(threads, initializer=compute_alone) as pool:
        for begin in range(0, len(wanted), 4 * threads):  # so many pictures wait in memory at most
            piece = wanted[begin : begin + 4 * threads]
            for key, found in zip(piece, pool.map(load, piece), strict=True):
                if isinstance(found, SnowmeltError):
                    errors.append(found)
                    continue
                ready[key] = found
                size += found.image.nbytes + found.mask.nbytes
            if size >= shard_bytes or time.monotonic() - since >= shard_seconds:
                store.write(ready)
                ready, size, since = {}, 0, time.monotonic()
            if progress is not None:
                done = begin + len(piece)
                progress(done, len(wanted), done / max(time.monotonic() - start, 1e-9))
    store.write(ready)
    if errors:
        raise BadFiles(errors)
    return len(wanted)


def expected_bytes(store: ImageStore, source: Source, count: int) -> int:
    """What ``count`` pictures of the source would take, by some that are spread over it.

    None takes more than four times the square of the store's side.
    """
    sizes = []
    for index in np.linspace(0, len(source) - 1, min(_PROBES, len(source))).astype(int).tolist():
        try:
            picture = load_working(source, index, store.side, store.exact)
        except SnowmeltError:  # the pass over all of them will say so
            continue
        sizes.append(picture.image.nbytes + picture.mask.nbytes)
    return int(np.mean(sizes) * count) if sizes else 0


def free_disk(folder: Path) -> int:
    """Bytes that are free where ``folder`` lies or will lie."""
    return shutil.disk_usage(next(each for each in (folder, *folder.absolute().parents) if each.exists())).free


def memory_size() -> int:
    """Bytes of memory that this machine, or the container around this process, has."""
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 8 << 30  # where a system does not tell
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        return size
    return min(size, int(limit)) if limit.isdigit() else size
