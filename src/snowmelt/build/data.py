"""Sources and batches from settings, and the choices that wait for the data."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snowmelt.config import ExperimentConfig
from snowmelt.data import (
    EvaluationDataset,
    JoinedSource,
    MapStore,
    Source,
    Splits,
    SubsetSource,
    UnlabelledSource,
    build_evaluation_transform,
    evaluation_loader,
    open_second,
    open_splits,
    overlap,
)
from snowmelt.data.folders import find_splits
from snowmelt.data.layouts import find_layout
from snowmelt.errors import SnowmeltError
from snowmelt.training import Engine

SCENES_SIZE = 128
FILES_SIZE = 256


def is_scenes(config: ExperimentConfig) -> bool:
    """Whether the data are the embedded scenes."""
    return config.data.source.split(":")[0] in ("scenes", "scenes-parts")


def index_folder(config: ExperimentConfig) -> Path:
    """Where is kept what was read and checked about the data, for all runs of one output folder."""
    return config.output / "data-index"


def open_data(config: ExperimentConfig) -> Splits:
    """The training, validation and test sources that the settings name."""
    data = config.data
    splits = open_splits(
        data.source,
        val=data.val,
        val_fraction=data.val_fraction,
        seed=data.seed,
        image_size=data.image_size or SCENES_SIZE,
        image_folder=data.image_folder,
        mask_folder=data.mask_folder,
        classes=None if data.classes is None else tuple(data.classes),
        index_folder=index_folder(config),
    )
    if data.limit is None or data.limit >= len(splits.train):
        return splits
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(data.seed)).tolist()
    return replace(splits, train=SubsetSource(splits.train, order[: data.limit]))


def open_second_data(
    config: ExperimentConfig, spec: str, classes: tuple[str, ...], part: str | None = None, *, search: bool = True
) -> tuple[Source, str]:
    """Images of a second data set to score on, and which part of it they are: ``test``, ``val`` or ``all``.

    Args:
        part: the part that is wanted, ``train`` too.
        search: where the settings' folders are not there, look which others hold pictures and masks.

    Raises:
        SnowmeltError: data that cannot be opened, or other classes than ``classes``.
    """
    data = config.data
    image_folder, mask_folder = data.image_folder, data.mask_folder
    if search:
        image_folder, mask_folder = _folders_in(spec, image_folder, mask_folder)
    return open_second(
        spec,
        classes,
        seed=data.seed,
        val_fraction=data.val_fraction,
        image_size=data.image_size or SCENES_SIZE,
        image_folder=image_folder,
        mask_folder=mask_folder,
        index_folder=index_folder(config),
        part=part,
    )


def _folders_in(spec: str, image_folder: str, mask_folder: str) -> tuple[str, str]:
    """Names of the folders of pictures and masks in other data: the run's own where they are there, else as found."""
    root = Path(spec).expanduser()
    if not root.is_dir():
        return image_folder, mask_folder
    with contextlib.suppress(SnowmeltError):
        if all(masks.is_dir() for _, masks in find_splits(root, image_folder, mask_folder).values()):
            return image_folder, mask_folder
    try:
        layout = find_layout(root)
    except SnowmeltError as error:
        raise SnowmeltError(
            f"data {spec!r}: has no folders {image_folder}/ and {mask_folder}/, as the run's data have, and it cannot "
            "be told which others are meant; rename them (snowmelt evaluate also takes --set data.mask_folder=NAME)",
            code=error.code,
        ) from error
    if layout.source != str(root):
        raise SnowmeltError(f"data {spec!r}: holds {layout.what}; give {layout.source}", code="data-layout-unknown")
    return layout.image_folder, layout.mask_folder


def join_unlabelled(config: ExperimentConfig, splits: Splits) -> tuple[Splits, list[str]]:
    """The splits with the pictures of ``data.unlabelled`` behind the labelled ones, and what was left out of these.

    Pictures that are also labelled, validation or test images are left out, whatever they are called: a score on
    images that were distilled on would flatter the run.

    Raises:
        SnowmeltError: no such folder, or nothing left in it.
    """
    folder = config.data.unlabelled
    if folder is None:
        return splits, []
    pictures = UnlabelledSource(Path(folder).expanduser(), splits.classes, index_folder(config))
    left_out: set[str] = set()
    notes = []
    for what, source in (("training", splits.train), ("validation", splits.val), ("test", splits.test)):
        same = set() if source is None else set(overlap(pictures, source)) - left_out
        left_out |= same
        if same:
            notes.append(f"{len(same)} of the unlabelled images are {what} images too and are left out")
    kept = [index for index in range(len(pictures)) if pictures.name(index) not in left_out]
    if not kept:
        raise SnowmeltError(
            f"data.unlabelled: {folder}: every picture in it is a training, validation or test image",
            code="unlabelled-overlap",
        )
    unlabelled = SubsetSource(pictures, kept) if left_out else pictures
    return replace(splits, train=JoinedSource(splits.train, unlabelled)), notes


def labelled_only(splits: Splits) -> Splits:
    """The splits without unlabelled pictures: what a teacher is trained on, and what a plain run would be."""
    train = splits.train
    return replace(splits, train=train.sources[0]) if isinstance(train, JoinedSource) else splits


def worker_count(config: ExperimentConfig) -> int:
    """Loading processes: as set; else on a CPU none, and for an accelerator one per spare core, at most 8.

    On a CPU the arithmetic uses every core anyway; a thread needs no copy from process to process.
    """
    if config.data.workers is not None:
        return config.data.workers
    if config.training.device == "cpu":
        return 0
    return max(1, min(8, (os.cpu_count() or 2) - 1))


def evaluation_batch(training_batch: int, device: str) -> int:
    """Images in a batch that is only scored.

    On a CPU small maps stay in its caches: B0 UNet at 256 px in bfloat16 took 24 ms an image at 8 and 41 ms at 32.
    An accelerator wants to be filled; without activations to keep, twice the training batch needs no more memory.
    """
    return 8 if device == "cpu" else max(8, 2 * training_batch)


def make_evaluation_batches(
    config: ExperimentConfig, source: Source, engine: Engine, maps: MapStore | None = None
) -> Any:
    """Batches of a whole set in order, without augmentation; with what a teacher has stored about each image."""
    size = config.data.image_size or FILES_SIZE
    return evaluation_loader(
        EvaluationDataset(source, build_evaluation_transform(size), maps),
        batch_size=evaluation_batch(config.training.batch_size, engine.device.type),
        workers=worker_count(config),
        rank=engine.rank,
        world_size=engine.world_size,
        pin=engine.device.type == "cuda",
        device=engine.device,
    )
