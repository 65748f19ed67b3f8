"""Pictures and their masks: sources, checks, augmentation, ordering and loading. Usable alone, in any training loop."""

from __future__ import annotations

from snowmelt.data.ahead import made_ahead
from snowmelt.data.coco import CocoSource
from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, Item, collate
from snowmelt.data.digests import file_digest, overlap
from snowmelt.data.folders import FolderSource, open_folder
from snowmelt.data.geometry import Placement, fitted_size
from snowmelt.data.images import IMAGE_SUFFIXES, read_image
from snowmelt.data.loading import BatchLoader, evaluation_loader, training_loader
from snowmelt.data.picture_files import picture_files
from snowmelt.data.samples import (
    IGNORE_INDEX,
    UNLABELLED,
    Batch,
    MapStore,
    Sample,
    Source,
    StorableSource,
    SubsetSource,
)
from snowmelt.data.sampling import StepSampler, epoch_order
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.spec import (
    CocoSpec,
    FolderSpec,
    ScenesSpec,
    Splits,
    open_second,
    open_splits,
    parse_spec,
    split_by_name,
)
from snowmelt.data.store import ImageStore, StoredSource, keys_of
from snowmelt.data.store_fill import can_be_stored, expected_bytes, fill_store, free_disk, memory_size
from snowmelt.data.transforms import (
    AUGMENTATIONS,
    PAD_COLOUR,
    Augmentation,
    Letterbox,
    build_evaluation_transform,
    build_transform,
)
from snowmelt.data.unlabelled import JoinedSource, UnlabelledSource
from snowmelt.data.working import Working, resize_image

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
    "ImageStore",
    "Item",
    "JoinedSource",
    "Letterbox",
    "MapStore",
    "Placement",
    "Sample",
    "ScenesSource",
    "ScenesSpec",
    "Source",
    "Splits",
    "StepSampler",
    "StorableSource",
    "StoredSource",
    "SubsetSource",
    "UnlabelledSource",
    "Working",
    "build_evaluation_transform",
    "build_transform",
    "can_be_stored",
    "collate",
    "epoch_order",
    "evaluation_loader",
    "expected_bytes",
    "file_digest",
    "fill_store",
    "fitted_size",
    "free_disk",
    "keys_of",
    "made_ahead",
    "memory_size",
    "open_folder",
    "open_second",
    "open_splits",
    "overlap",
    "parse_spec",
    "picture_files",
    "read_image",
    "resize_image",
    "split_by_name",
    "training_loader",
]
