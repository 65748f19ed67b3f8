"""Where the pictures of a run are kept between epochs: filling its image stores, or deciding against them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from snowmelt.build.data import FILES_SIZE
from snowmelt.build.progress import ProgressLines
from snowmelt.config import ExperimentConfig
from snowmelt.data import (
    ImageStore,
    JoinedSource,
    Source,
    Splits,
    StoredSource,
    build_evaluation_transform,
    build_transform,
    can_be_stored,
    expected_bytes,
    fill_store,
    free_disk,
    keys_of,
    memory_size,
)
from snowmelt.data.checking import BadFiles, all_or_errors
from snowmelt.data.stored_files import readable_size
from snowmelt.disk import Need, check_space
from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine

Say = Callable[[str], None]
SHARE = 0.5  # of the free disk, and of the memory, that ``auto`` takes at most


@dataclass(frozen=True)
class _Part:
    """A source, the store for it, and its pictures' keys there."""

    source: Source
    store: ImageStore
    keys: Sequence[str]


def store_root(config: ExperimentConfig) -> Path:
    """The folder in which the image stores of all runs lie."""
    return config.data.store_folder or config.output / "image-store"


def store_pictures(config: ExperimentConfig, splits: Splits, engine: Engine, say: Say) -> Splits:
    """The splits with their training and validation pictures in image stores; what is lacking there is read now.

    That is also the check of those pictures. Where there is to be no store, or ``auto`` finds no room for one, the
    splits come back as they are. One process fills and the others wait for it, but for a store in memory, of which
    every process has its own.

    Args:
        config: settled (see ``settle``).

    Raises:
        SnowmeltError: a picture that cannot be used; a store asked for that cannot be written.
    """
    choice = config.data.store
    labelled = splits.train.sources if isinstance(splits.train, JoinedSource) else (splits.train,)
    if choice == "none" or not all(can_be_stored(source) for source in (*labelled, splits.val)):
        return splits
    root = None if choice == "memory" else store_root(config)
    waits = root is not None and engine.rank > 0
    if waits:
        engine.barrier()
    parts = _open(config, root, [*labelled, splits.val], engine.rank == 0, say)
    stored = _complete(parts) if waits else _fill(parts, splits.test, choice, root, config.training.check_space, say)
    if root is not None and not waits:
        engine.barrier()
    if not stored:
        return splits
    *train, val = (StoredSource(part.source, part.store.view(part.keys)) for part in parts)
    return replace(splits, train=JoinedSource(*train) if len(train) > 1 else train[0], val=val)


def _open(
    config: ExperimentConfig, root: Path | None, sources: Sequence[Source], verify: bool, say: Say
) -> list[_Part]:
    """The last source is for validation, the others for training."""
    size = config.data.image_size or FILES_SIZE
    training_side = build_transform(config.data.augmentation, size).working_side
    training = ImageStore(root, training_side, exact=False, say=say, verify=verify)
    exact = ImageStore(root, build_evaluation_transform(size).working_side, exact=True, say=say, verify=verify)
    stores = [training] * (len(sources) - 1) + [exact]
    keys = all_or_errors(partial(keys_of, source) for source in sources)
    return [_Part(*part) for part in zip(sources, stores, keys, strict=True)]


def _complete(parts: Sequence[_Part]) -> bool:
    return not any(part.store.missing(part.keys) for part in parts)


def _fill(
    parts: Sequence[_Part], test: Source | None, choice: str, root: Path | None, checks_space: bool, say: Say
) -> bool:
    """Whether the stores hold everything afterwards; ``test`` is looked at only to complete a list of bad files."""
    if choice == "auto" and root is not None and not _complete(parts):
        reason = _no_room(parts, root)
        if reason is not None:
            say(f"image store: none, {reason}; data.store=disk takes it all the same")
            return False
    if choice == "disk" and root is not None and checks_space:
        lacking = sum(expected_bytes(part.store, part.source, len(part.store.missing(part.keys))) for part in parts)
        check_space(
            [Need("decoded pictures", root, lacking)],
            "set data.store_folder to a larger disk, data.store=none, or training.check_space=false",
        )
    start = time.monotonic()
    try:
        read = sum(all_or_errors(partial(_fill_one, part, say) for part in parts))
    except BadFiles as error:
        raise BadFiles([error, *_bad_files_of(test)]) from error  # whoever mends files wants to hear of all of them
    except OSError as error:
        what = f"image store: {root} cannot be written ({error.strerror or error})"
        if choice == "auto":
            say(f"{what}; pictures are read from their files in every epoch")
            return False
        raise SnowmeltError(
            f"{what}; set data.store_folder to another place, or data.store=none", code="file-unwritable"
        ) from error
    total = sum(part.store.bytes_of(part.keys) for part in parts)
    images = sum(len(part.keys) for part in parts)
    seconds, place = time.monotonic() - start, "memory" if root is None else root
    now = f"{read} of {images} images read now in {seconds:.1f} s, into {place}" if read else f"all {images} images"
    say(f"image store: {now} ({total / 1e6:,.1f} MB)")
    return True


def _bad_files_of(source: Source | None) -> list[SnowmeltError]:
    try:
        if source is not None:
            source.check()
    except SnowmeltError as error:
        return [error]
    return []


def _fill_one(part: _Part, say: Say) -> int:
    return fill_store(part.store, part.source, part.keys, ProgressLines("image store", say))


def _no_room(parts: Sequence[_Part], root: Path) -> str | None:
    """Why the pictures do not fit, by an estimate; ``None`` if they do."""
    lacking = total = 0
    for part in parts:
        missing = len(part.store.missing(part.keys))
        lacking += expected_bytes(part.store, part.source, missing)
        total += part.store.bytes_of(part.keys)
    total += lacking
    for needed, room, what in (
        (lacking, free_disk(root), "what is free on the disk"),
        (total, memory_size(), "memory"),
    ):
        if needed > SHARE * room:
            return f"its {readable_size(needed)} would be more than half of {what} ({readable_size(room)})"
    return None
