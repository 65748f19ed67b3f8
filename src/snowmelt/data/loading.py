"""Data loaders over the datasets of this room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, Item, collate
from snowmelt.data.samples import Batch
from snowmelt.data.sampling import StepSampler
from snowmelt.errors import SnowmeltError


class BatchLoader(DataLoader[Any]):
    """A ``DataLoader`` of ``Batch`` whose workers hand a ``SnowmeltError`` over whole.

    A plain loader rebuilds a worker's exception with the worker's traceback as its message, which would turn the one
    line that names a bad file into thirty.
    """

    def __init__(self, dataset: Dataset[Item], batches: Any, workers: int, pin: bool, context: str | None) -> None:
        super().__init__(
            _Guarded(dataset),
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_collate_or_error,
            pin_memory=pin,
            persistent_workers=workers > 0,
            multiprocessing_context=context if workers > 0 else None,
            # Starting an iteration draws a seed; from the global generator it would shift the dropout of a resumed run.
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, SnowmeltError):
                raise batch
            yield batch


def training_loader(
    dataset: AugmentedDataset,
    sampler: StepSampler,
    workers: int = 0,
    pin: bool = False,
    context: str | None = None,
) -> BatchLoader:
    """One ``Batch`` per optimizer step, in the sampler's order; ``sampler.set_position`` before each epoch.

    ``context``: how workers start ("fork", "spawn", "forkserver"; None: the platform's default). Every worker computes
    on one thread. What comes out does not depend on ``workers``.
    """
    return BatchLoader(dataset, sampler, _checked(workers), pin, context)


def evaluation_loader(
    dataset: EvaluationDataset,
    batch_size: int,
    workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
    context: str | None = None,
) -> BatchLoader:
    """Batches of this process's images: every image on exactly one process, none repeated to even the numbers out.

    So processes may get different numbers of batches, even none: sum up first, then communicate.
    """
    if batch_size < 1:
        raise SnowmeltError(f"batch size {batch_size}: it must be at least 1")
    if not 0 <= rank < world_size:
        raise SnowmeltError(f"rank {rank} is not one of {world_size} processes (0 to {world_size - 1})")
    share = list(range(rank, len(dataset), world_size))
    batches = [share[first : first + batch_size] for first in range(0, len(share), batch_size)]
    return BatchLoader(dataset, batches, _checked(workers), pin, context)


class _Guarded(Dataset[Any]):
    """The dataset, with a user's mistake as a value in place of an exception."""

    def __init__(self, dataset: Dataset[Item]) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Item | SnowmeltError:
        try:
            return self.dataset[key]
        except SnowmeltError as error:
            return SnowmeltError(*error.args)  # without the traceback, which holds the worker's frames


def _collate_or_error(items: list[Item | SnowmeltError]) -> Batch | SnowmeltError:
    good: list[Item] = []
    for item in items:
        if isinstance(item, SnowmeltError):
            return item
        good.append(item)
    return collate(good)


def _checked(workers: int) -> int:
    if workers < 0:
        raise SnowmeltError(f"{workers} data-loading workers: give 0 (load in the main process) or more")
    return workers
