"""One pass over clean pictures that stores the teacher's answer to each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from snowmelt.data import (
    IGNORE_INDEX,
    EvaluationDataset,
    Sample,
    Source,
    SubsetSource,
    build_evaluation_transform,
    evaluation_loader,
)
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.asking import Answers, Filled
from snowmelt.teachers.cache.store import TeacherCache

SHARD_BYTES = 64 << 20
SHARD_SECONDS = 30.0
"""A shard is written when either is reached, so a killed pass loses half a minute and a long one makes few files."""

PROBE_BYTES = 256 << 20

Progress = Callable[[int, int, float], None]  # done, in all, images per second since the start


@dataclass(frozen=True)
class FillReport:
    """What this process did.

    Args:
        images: computed now.
        reused: of its share, those that were stored already.
        bytes: written, all rows together.
    """

    images: int
    reused: int
    seconds: float
    bytes_per_image: int
    bytes: int


class CleanPictures(SubsetSource):
    """Chosen pictures of a source without their labels: masks are 0, so that only a letterbox's padding is ignored.

    So the room of the evaluation pictures, and the answer of ``filled_sizes``, are the data room's own.
    """

    def load(self, index: int) -> Sample:
        sample = super().load(index)
        return Sample(sample.image, np.zeros(sample.image.shape[:2], dtype=np.uint8), sample.name)


def filled_sizes(masks: Tensor) -> list[Filled]:
    """(h, w) that each picture fills, from the masks of ``CleanPictures``, (B, N, N)."""
    inside = masks != IGNORE_INDEX
    heights, widths = inside[:, :, 0].sum(dim=1).tolist(), inside[:, 0, :].sum(dim=1).tolist()
    return list(zip(heights, widths, strict=True))


def digests_of(source: Source) -> list[str]:
    """The content digests of all pictures, in order. Reads every file."""
    return [source.digest(index) for index in range(len(source))]


def probe(answers: Answers, source: Source, size: int, count: int = 12) -> tuple[Tensor, list[Filled]]:
    """Exact answers for ``choice.measure``: pictures spread over the source, always the same ones.

    Fewer than ``count`` where the source is smaller, or where they would take more memory than ``PROBE_BYTES``.
    Returns (P, C, N, N) float32 logits on the CPU, and what each picture fills.
    """
    spread = sorted({int(index) for index in np.linspace(0, len(source) - 1, min(count, len(source)))})
    order = np.random.Generator(np.random.PCG64(0)).permutation(spread).tolist()  # any beginning of it is spread too
    pictures = CleanPictures(source, order)
    logits: list[Tensor] = []
    filled: list[Filled] = []
    for batch in evaluation_loader(EvaluationDataset(pictures, build_evaluation_transform(size)), 1):
        parts = filled_sizes(batch.masks)
        logits.append(_asked(answers, batch.images, [pictures.name(len(filled))], parts, None).cpu())
        filled += parts
        if (len(logits) + 1) * logits[0].nbytes > PROBE_BYTES:
            break
    return torch.cat(logits), filled


def fill(
    cache: TeacherCache,
    answers: Answers,
    source: Source,
    *,
    digests: Sequence[str] | None = None,
    batch_size: int = 8,
    workers: int = 0,
    context: str | None = None,
    rank: int = 0,
    world_size: int = 1,
    progress: Progress | None = None,
    shard_bytes: int = SHARD_BYTES,
    shard_seconds: float = SHARD_SECONDS,
) -> FillReport:
    """Compute and store what the cache lacks of this source. Can be killed at any time and called again.

    Several processes share the work: each takes every ``world_size``-th distinct picture, stored or not, so that none
    depends on what the others have written meanwhile. Afterwards wait for all of them and call ``cache.refresh()``.

    Args:
        digests: of the source's pictures in order, where they are known already (``digests_of``).
        workers: of the data loader.
        context: how the data loader starts them.
        progress: called after each batch.

    Raises:
        SnowmeltError: too little disk space (before anything is computed), a picture that cannot be read, an answer
            that does not fit the cache or is not finite (naming the picture), a disk that is full after all.
    """
    known = digests_of(source) if digests is None else list(digests)
    if len(known) != len(source):
        raise SnowmeltError(f"{len(known)} digests for {len(source)} pictures: give one for each", code="array-shape")
    first = {digest: index for index, digest in reversed(list(enumerate(known)))}  # equal pictures are asked once
    distinct = list(dict.fromkeys(known))
    cache.check_space(len(cache.missing(distinct)))
    share = distinct[rank::world_size]
    wanted = cache.missing(share)
    pictures = CleanPictures(source, [first[digest] for digest in wanted])
    dataset = EvaluationDataset(pictures, build_evaluation_transform(cache.encoding.size))
    start, done = time.monotonic(), 0
    writer = _Writer(cache, shard_bytes, shard_seconds)
    try:
        for batch in evaluation_loader(dataset, batch_size, workers, context=context) if wanted else ():
            indices, filled = batch.indices.tolist(), filled_sizes(batch.masks)
            names = [pictures.name(index) for index in indices]
            logits = _asked(answers, batch.images, names, filled, cache.encoding.channels)
            for row, index in enumerate(indices):
                writer.add(wanted[index], _encoded(cache, logits[row], filled[row], names[row]))
            writer.flush_if_due()
            done += len(indices)
            if progress is not None:
                progress(done, len(wanted), done / max(time.monotonic() - start, 1e-9))
    finally:
        writer.flush()  # what is computed is kept, whatever went wrong
    row_bytes = cache.encoding.row_bytes
    return FillReport(done, len(share) - len(wanted), time.monotonic() - start, row_bytes, done * row_bytes)


class _Writer:
    """Collects rows until they make a shard."""

    def __init__(self, cache: TeacherCache, shard_bytes: int, shard_seconds: float) -> None:
        self.cache = cache
        self.shard_bytes = shard_bytes
        self.shard_seconds = shard_seconds
        self.rows: dict[str, np.ndarray] = {}
        self.since = time.monotonic()

    def add(self, digest: str, row: np.ndarray) -> None:
        self.rows[digest] = row

    def flush_if_due(self) -> None:
        full = len(self.rows) * self.cache.encoding.row_bytes >= self.shard_bytes
        if full or time.monotonic() - self.since >= self.shard_seconds:
            self.flush()

    def flush(self) -> None:
        # Taken before it is written: after a failure the flush on the way out does not fail in the same way again.
        rows, self.rows = self.rows, {}
        self.cache.write(list(rows), list(rows.values()))
        self.since = time.monotonic()


def _asked(
    answers: Answers, images: Tensor, names: Sequence[str], filled: Sequence[Filled], channels: int | None
) -> Tensor:
    logits = answers(images, names, filled)
    expected = (len(images), logits.shape[1] if channels is None else channels, *images.shape[-2:])
    if tuple(logits.shape) != expected:
        raise SnowmeltError(
            f"the teacher answered {tuple(logits.shape)} where {expected} was expected; does it give one logit map for "
            "each of the student's classes, at the size of the pictures?",
            code="teacher-answer",
        )
    return logits.float()


def _encoded(cache: TeacherCache, logits: Tensor, filled: Filled, name: str) -> np.ndarray:
    try:
        return cache.encoding.encode(logits, filled)
    except SnowmeltError as error:
        raise SnowmeltError(f"{name}: {error}", code=error.code) from error
