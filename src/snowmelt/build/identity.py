"""What makes a run, a teacher or a data set the same one again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from snowmelt.config import DistillationConfig, ExperimentConfig
from snowmelt.data import Splits

# What may differ when a run goes on: where and how it is computed, not what it computes.
FREE_ON_RESUME = (
    "name",
    "description",
    "output",
    "data.workers",
    "data.store",
    "data.store_folder",
    "teacher.cache_folder",
    "teacher.cache_precision",  # the encoding in use is part of the teacher's digest, which is compared
    "teacher.cache_stride",
    "student.weights",  # the checkpoint has taken their place
    "training.max_steps",
    "training.device",
    "training.threads",
    "training.checkpoint_every",
    "training.log_every",
    "training.max_skipped",  # with the next two: what they did so far is in the checkpoint
    "training.rollbacks",
    "training.rollback_scale",
    "training.on_write_failure",
    "training.check_space",
    "training.compile",
    "training.deterministic",
    "reactions.memory",  # what it decided is in the checkpoint; a run that ran out of memory goes on with it
    "reactions.memory_limit",
)

OF_TASK = ("enabled", "weight_schedules")  # settings of distillation that a plain run has a use for

# Settings that came after the first run folders. One that is not there is taken for its default, and at its default it
# does not tell a teacher from those of before.
LATER = ("reactions.", "training.patience", "training.average", "thaw.norm_eval", "teacher.norm_eval")
# Settings that an older version compared, at their default: they are still in the names of the teachers it trained.
ONCE_COMPARED = {"training.checkpoint_every": None}


def identity_of(config: ExperimentConfig) -> dict[str, Any]:
    """What decides a run's result, by dotted path of each setting."""
    flat = flatten(config.model_dump(mode="json"))
    if not config.distills:
        # What only a teacher gives a meaning does not tell one plain run from another.
        idle = tuple(f"distillation.{name}" for name in DistillationConfig.model_fields if name not in OF_TASK)
        flat = {key: value for key, value in flat.items() if not key.startswith(("teacher.", "temperature.", *idle))}
    return {key: value for key, value in flat.items() if key not in FREE_ON_RESUME}


def later_defaults() -> dict[str, Any]:
    """Defaults of the settings that identities of older runs do not have."""
    defaults = flatten(ExperimentConfig().model_dump(mode="json"))
    return {key: value for key, value in defaults.items() if key.startswith(LATER) and key not in FREE_ON_RESUME}


def without_later_defaults(identity: Mapping[str, Any]) -> dict[str, Any]:
    """``identity`` as an older version would have given it, as far as the same run was possible with it."""
    defaults = later_defaults()
    known = {key: value for key, value in identity.items() if key not in defaults or value != defaults[key]}
    return {**ONCE_COMPARED, **known}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def digest_of(values: Mapping[str, Any]) -> str:
    """Eight characters that change when any value does."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:8]


def data_digest(splits: Splits) -> str:
    """Eight characters that tell one data set from another: the names of all items and the classes."""
    parts = [splits.train, splits.val]
    names = [[part.name(index) for index in range(len(part))] for part in parts]
    return digest_of({"classes": splits.train.classes, "names": names})
