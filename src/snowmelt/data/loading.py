"""Data loaders over the datasets of this room."""

from __future__ import annotations

import os
import signal
import threading
import weakref
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from snowmelt.data.ahead import made_ahead, moved_ahead
from snowmelt.data.checking import fault_at
from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, Item, collate
from snowmelt.data.loading_processes import Board, death_of, die_with_parent, explain_deaths
from snowmelt.data.samples import Batch
from snowmelt.data.sampling import StepSampler
from snowmelt.errors import SnowmeltError

DYING = 5.0  # seconds that a process takes to die, at most

_loaders: weakref.WeakSet[BatchLoader] = weakref.WeakSet()  # those with processes, which may die


class BatchLoader(DataLoader[Any]):
    """A ``DataLoader`` of ``Batch`` that says in one line at which image something went wrong.

    A plain loader rebuilds a worker's exception with the worker's traceback as its message, which would turn the one
    line that names a bad file into thirty. Here a ``SnowmeltError`` comes over whole, any other exception becomes one
    that names its image, and so does the death of a worker, by the system for want of memory for one. No worker
    outlives this process (``die_with_parent``).

    Without workers, batches are made by a thread of this process, a little ahead: decoding, resizing and copying leave
    the interpreter to others meanwhile. ``device``: of CUDA, to have each batch there before it is asked for.
    """

    def __init__(
        self,
        dataset: Dataset[Item],
        batches: Any,
        workers: int,
        pin: bool,
        context: str | None,
        device: torch.device | None = None,
    ) -> None:
        self._device = device if device is not None and device.type == "cuda" else None
        self._guarded = _Guarded(dataset, Board(workers) if workers > 0 else None)
        super().__init__(
            self._guarded,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_collate_or_error,
            pin_memory=pin,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_the_parent if workers > 0 else None,
            multiprocessing_context=context if workers > 0 else None,
            # Starting an iteration draws a seed; from the global generator it would shift the dropout of a resumed run.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        if self.num_workers > 0:
            _loaders.add(self)
            # Linux sends its signal at the end of the thread that started a process, so that has to be the main one.
            main = threading.current_thread() is threading.main_thread()
            self.worker_init_fn = _bind_to_the_parent if main else _leave_signals_to_the_parent
        try:
            found = super().__iter__()
            if self.num_workers > 0:
                explain_deaths(_death)
            ahead = made_ahead(found) if self.num_workers == 0 else found
            batches = _raising(ahead)
            yield from batches if self._device is None else moved_ahead(batches, self._device)
        except (RuntimeError, OSError, EOFError) as error:
            # A connection that breaks off may be told before its other end is quite dead.
            told = self.death(patience=0 if isinstance(error, RuntimeError) else DYING)
            if told is None:
                raise
            raise told from error

    def death(self, patience: float = 0) -> SnowmeltError | None:
        """One line about workers that died, with the images that they were on; ``None`` while all are well.

        ``patience``: seconds in which one may yet die.
        """
        processes: list[BaseProcess] = getattr(self._iterator, "_workers", [])
        board = self._guarded.board
        if board is None:
            return None
        if patience:
            wait([each.sentinel for each in processes], patience)
        told = death_of(processes, board, self._guarded.name_of)
        if told is not None:
            _loaders.discard(self)  # the next signal tells of another one
        return told


def _death() -> SnowmeltError | None:
    return next((told for told in (loader.death() for loader in list(_loaders)) if told is not None), None)


class _SecondOneEnds:
    """SIGTERM for a worker: the first is for the parent, which still needs batches to come to its own end."""

    def __init__(self) -> None:
        self._heard = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._heard:
            os._exit(128 + number)
        self._heard = True


def _leave_signals_to_the_parent(worker: int) -> None:
    """A terminal's Ctrl-C and a scheduler's SIGTERM reach workers, too, and whoever lost a worker could not go on.

    Workers end with their parent: it tells them, or they see that it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _SecondOneEnds())


def _bind_to_the_parent(worker: int) -> None:
    _leave_signals_to_the_parent(worker)
    die_with_parent()


def _raising(batches: Iterator[Any]) -> Iterator[Batch]:
    for batch in batches:
        if isinstance(batch, SnowmeltError):
            raise batch
        yield batch


def training_loader(
    dataset: AugmentedDataset,
    sampler: StepSampler,
    workers: int = 0,
    pin: bool = False,
    context: str | None = None,
    device: torch.device | None = None,
) -> BatchLoader:
    """One ``Batch`` per optimizer step, in the sampler's order; ``sampler.set_position`` before each epoch.

    ``context``: how workers start ("fork", "spawn", "forkserver"; None: the platform's default). Every worker computes
    on one thread. ``device``: where batches are to be, for CUDA. What comes out does not depend on any of these.
    """
    return BatchLoader(dataset, sampler, _checked(workers), pin, context, device)


def evaluation_loader(
    dataset: EvaluationDataset,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
    context: str | None = None,
    device: torch.device | None = None,
) -> BatchLoader:
    """Batches of this process's images: every image on exactly one process, none repeated to even the numbers out.

    So processes may get different numbers of batches, even none: sum up first, then communicate.
    """
    if batch_size < 1:
        raise SnowmeltError(f"batch size {batch_size}: it must be at least 1", code="settings-value")
    if not 0 <= rank < world_size:
        raise SnowmeltError(
            f"rank {rank} is not one of {world_size} processes (0 to {world_size - 1})", code="argument-value"
        )
    share = list(range(rank, len(dataset), world_size))
    batches = [share[first : first + batch_size] for first in range(0, len(share), batch_size)]
    return BatchLoader(dataset, batches, _checked(workers), pin, context, device)


class _Guarded(Dataset[Any]):
    """The dataset, with an exception as a value: a ``SnowmeltError`` as it is, any other as one that names the image.

    On ``board`` each worker notes which image it is on.
    """

    def __init__(self, dataset: Dataset[Item], board: Board | None) -> None:
        self.dataset = dataset
        self.board = board

    def __getitem__(self, key: Any) -> Item | SnowmeltError:
        position = _position(key)
        if self.board is not None:
            self.board.put(position)
        try:
            item = self.dataset[key]
        except SnowmeltError as error:
            return SnowmeltError(str(error), code=error.code)  # without the traceback, which holds the worker's frames
        except Exception as error:
            return fault_at(self.name_of(position), error)
        if self.board is not None:
            self.board.put(None)
        return item

    def name_of(self, position: int) -> str:
        """What a person calls the image at a position of the dataset's source."""
        source = getattr(self.dataset, "source", None)
        return f"image {position}" if source is None else source.name(position)


def _position(key: Any) -> int:
    """In the source, of a key of either dataset."""
    index = key[1] if isinstance(key, tuple) else key
    return -1 - index if index < 0 else index


def _collate_or_error(items: list[Item | SnowmeltError]) -> Batch | SnowmeltError:
    good: list[Item] = []
    for item in items:
        if isinstance(item, SnowmeltError):
            return item
        good.append(item)
    return collate(good)


def _checked(workers: int) -> int:
    if workers < 0:
        raise SnowmeltError(
            f"{workers} data-loading workers: give 0 (load in the main process) or more", code="settings-value"
        )
    return workers
