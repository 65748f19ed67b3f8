"""Having the next batches ready: made in a thread, and on the device before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from snowmelt.data.samples import Batch
from snowmelt.data.threads import compute_alone

AHEAD = 2  # batches that are ready or in the making while one is used

_Thing = TypeVar("_Thing")


class _End:
    """What comes after the last one."""


def made_ahead(things: Iterator[_Thing], count: int = AHEAD) -> Iterator[_Thing]:
    """The same things in the same order, made by one thread of this process, ``count`` of them before their turn.

    Errors arrive where the thing would. Left early, it waits for the one that is in the making.
    """

    def following() -> _Thing | _End:
        return next(things, _End())

    waiting: deque[Future[_Thing | _End]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="snowmelt-batches", initializer=compute_alone)
    try:
        waiting.extend(pool.submit(following) for _ in range(count))
        while True:
            found = waiting.popleft().result()
            if isinstance(found, _End):
                return
            waiting.append(pool.submit(following))
            yield found
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def moved_ahead(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on a CUDA device, each copied there while the one before it is used.

    The copy runs on a stream of its own, beside the arithmetic; it is asynchronous for pinned batches only.
    """
    stream = torch.cuda.Stream(device)

    def move(batch: Batch) -> Batch:
        with torch.cuda.stream(stream):
            return batch.to(device, non_blocking=True)

    current: Batch | None = None
    for batch in batches:
        following = move(batch)
        if current is not None:
            yield current
        torch.cuda.current_stream(device).wait_stream(stream)
        # The copies' memory belongs to their stream, which must not use it again before ours is done with it.
        for tensor in following.tensors():
            tensor.record_stream(torch.cuda.current_stream(device))
        current = following
    if current is not None:
        yield current
