"""Pictures and their masks: sources, checks, augmentation, ordering and loading. Usable alone, in any training loop."""

from __future__ import annotations

from snowmelt.data.coco import CocoSource
from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, collate
from snowmelt.data.digests import file_digest, overlap
from snowmelt.data.folders import FolderSource, open_folder
from snowmelt.data.geometry import Rotation, Trace, fitted_size
from snowmelt.data.images import IMAGE_SUFFIXES, read_image
from snowmelt.data.loading import BatchLoader, evaluation_loader, training_loader
from snowmelt.data.randomness import seeded
from snowmelt.data.samples import IGNORE_INDEX, UNLABELLED, Batch, MapStore, Sample, Source, SubsetSource
from snowmelt.data.sampling import StepSampler, epoch_order
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.spec import (
    CocoSpec,
    FolderSpec,
    ScenesSpec,
    Splits,
    open_splits,
    parse_spec,
    split_by_name,
)
from snowmelt.data.transforms import (
    AUGMENTATIONS,
    PAD_COLOUR,
    Augmentation,
    Letterbox,
    build_evaluation_transform,
    build_transform,
)
from snowmelt.data.unlabelled import JoinedSource, UnlabelledSource

__all__ = [
    "AUGMENTATIONS",
    "IGNORE_INDEX",
    "IMAGE_SUFFIXES",
    "PAD_COLOUR",
    "UNLABELLED",
    "Augmentation",
    "AugmentedDataset",
    "Batch",
    "BatchLoader",
    "CocoSource",
    "CocoSpec",
    "EvaluationDataset",
    "FolderSource",
    "FolderSpec",
    "JoinedSource",
    "Letterbox",
    "MapStore",
    "Rotation",
    "Sample",
    "ScenesSource",
    "ScenesSpec",
    "Source",
    "Splits",
    "StepSampler",
    "SubsetSource",
    "Trace",
    "UnlabelledSource",
    "build_evaluation_transform",
    "build_transform",
    "collate",
    "epoch_order",
    "evaluation_loader",
    "file_digest",
    "fitted_size",
    "open_folder",
    "open_splits",
    "overlap",
    "parse_spec",
    "read_image",
    "seeded",
    "split_by_name",
    "training_loader",
]
