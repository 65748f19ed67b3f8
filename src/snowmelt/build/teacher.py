"""Who teaches: a teacher of any kind, fitted to the student's classes, or the experiment that trains one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from snowmelt.build.data import FILES_SIZE, labelled_only
from snowmelt.build.identity import data_digest, digest_of, identity_of, without_later_defaults
from snowmelt.build.networks import output_channels
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.config.teaching import TASK_WEIGHTS, TEACHER_ENCODER
from snowmelt.data import EvaluationDataset, Source, Splits, build_evaluation_transform, collate
from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation
from snowmelt.teachers import (
    KINDS,
    ClassMapping,
    FittedTeacher,
    NetworkTeacher,
    OpenOptions,
    StoredMaps,
    TeacherModel,
    default_mapping,
    find_kind,
)
from snowmelt.training import Engine

PROBED = 4  # images whose answers tell logits from probabilities

Say = Callable[[str], None]


@dataclass(frozen=True)
class OpenedTeacher:
    """A teacher that can be asked (``model``), or maps that were computed before (``maps`` with their mapping)."""

    model: FittedTeacher | None = None
    maps: StoredMaps | None = None
    mapping: ClassMapping | None = None

    @property
    def digest(self) -> str:
        """Changes with whatever changes the answers."""
        if self.model is not None:
            return self.model.digest
        assert self.maps is not None
        return (
            self.maps.digest if self.mapping is None else digest_of({"m": self.maps.digest, "c": self.mapping.digest})
        )

    @property
    def network(self) -> nn.Module | None:
        """The network inside, whose features can be matched; ``None`` for teachers that are no PyTorch network here."""
        inner = None if self.model is None else self.model.model
        return inner.network if isinstance(inner, NetworkTeacher) else None

    def describe(self) -> str:
        """One line for the log."""
        if self.model is not None:
            return self.model.describe()
        assert self.maps is not None
        return self.maps.describe() + ("" if self.mapping is None else f", {self.mapping.describe()}")


def open_teacher(config: ExperimentConfig, source: str, splits: Splits, engine: Engine, say: Say) -> OpenedTeacher:
    """The teacher that ``source`` names (a path or ``kind:target``), on the engine's device.

    Raises:
        SnowmeltError: no such teacher, a file that cannot be read, or classes that do not fit those of the data.
    """
    kind, target = find_kind(source)
    try:
        return _open(kind, target, config, splits, engine, say)
    except SnowmeltError as error:
        if Path(target).name in str(error) or "teacher." in str(error):
            raise
        raise SnowmeltError(f"teacher.source {target}: {error}", code=error.code) from error


def _open(kind: str, target: str, config: ExperimentConfig, splits: Splits, engine: Engine, say: Say) -> OpenedTeacher:
    pictures = few_pictures(splits.train, config.data.image_size or FILES_SIZE)
    options = OpenOptions(
        classes=splits.classes,
        device=engine.device,
        autocast=engine.autocast,
        network=named_network(config),
        normalisation=given_normalisation(config),
        size=config.teacher.image_size,
        outputs=config.teacher.outputs,
        probe=pictures,
        say=say,
    )
    opened = open_kind(kind, target, options)
    if isinstance(opened, StoredMaps):
        return open_maps(config, opened, splits, say)
    channels = channels_of(opened, pictures()[:1].to(engine.device))
    fitted = FittedTeacher(
        opened,
        channels=output_channels(splits.classes),
        size=config.teacher.image_size,
        mapping=find_mapping(config, opened.classes, channels, splits.classes, say),
    )
    return OpenedTeacher(model=fitted)


def open_kind(kind: str, target: str, options: OpenOptions) -> TeacherModel | StoredMaps:
    """Open it as the settings describe its network, else as its tensors do.

    A named experiment names the network of the teacher that it would train; a file that holds another one is no
    mistake as long as it tells what it is.
    """
    try:
        return KINDS[kind].open(target, options)
    except SnowmeltError:
        if kind != "weights" or options.network is None:
            raise
        try:
            opened = KINDS[kind].open(target, replace(options, network=None))
        except SnowmeltError:
            opened = None
        if opened is None:
            raise
        options.say(f"teacher: {target} does not hold the network that teacher.network names; its tensors decide")
        return opened


def open_maps(config: ExperimentConfig, maps: StoredMaps, splits: Splits, say: Say) -> OpenedTeacher:
    """Precomputed maps, after looking whether every training and validation image has one."""
    if config.teacher.image_size is not None:
        raise SnowmeltError(
            "teacher.image_size: precomputed maps have the size they have; set it to null", code="teacher-size"
        )
    for what, source in (("training", splits.train), ("validation", splits.val)):
        names = [source.name(index) for index in range(len(source))]
        missing = [name for name in names if not maps.has(name)]
        if missing:
            raise SnowmeltError(
                f"teacher.source: {maps.describe()}: {len(missing)} of {len(names)} {what} images have no map, "
                f"{missing[0]} for one; compute them too, or use teacher.source=none",
                code="teacher-maps-missing",
            )
    channels = len(maps.read(splits.train.name(0)))
    return OpenedTeacher(maps=maps, mapping=find_mapping(config, maps.classes, channels, splits.classes, say))


def channels_of(model: TeacherModel, picture: Tensor) -> int:
    """How many logit channels the model gives, found out by asking it once."""
    size = model.size
    if size is None:
        return int(model(picture).shape[1])
    return int(model(picture.new_zeros((1, 3, *size))).shape[1])


def find_mapping(
    config: ExperimentConfig, names: tuple[str, ...] | None, channels: int, classes: tuple[str, ...], say: Say
) -> ClassMapping | None:
    """From the teacher's classes to the student's; ``None`` where they are the same."""
    given = config.teacher.class_map
    if given:
        return ClassMapping.from_settings(given, names, channels, classes)
    return default_mapping(names, channels, classes, say)


def few_pictures(source: Source, size: int) -> Callable[[], Tensor]:
    """Some images as the teacher will see them, (P, 3, N, N) uint8, loaded when they are asked for."""

    def load() -> Tensor:
        dataset = EvaluationDataset(source, build_evaluation_transform(size))
        chosen = np.linspace(0, len(source) - 1, num=min(PROBED, len(source)), dtype=int)
        return collate([dataset[int(index)] for index in chosen]).images

    return load


def named_network(config: ExperimentConfig) -> dict[str, Any] | None:
    """What the settings say of a given teacher's network: only what somebody wrote down."""
    given = config.teacher.network.model_dump(exclude_unset=True, exclude={"weights"})
    if given.get("encoder") == TEACHER_ENCODER:
        del given["encoder"]  # filled in where only other parts were named
    return given or None


def given_normalisation(config: ExperimentConfig) -> Normalisation | None:
    """Mean and deviation that the settings name."""
    mean, std = config.teacher.mean, config.teacher.std
    if mean is None or std is None:
        return None
    return Normalisation((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))


def teacher_experiment(config: ExperimentConfig, splits: Splits) -> ExperimentConfig:
    """The experiment that trains the teacher: the same data and loop, the whole network, no teacher of its own.

    Its rate follows a cosine to its end, which is what brings a network to its plateau. Images without masks can
    teach it nothing. How the student reacts, averages and ends is the student's alone, so students that differ in it
    share their teacher. The memory of the machine is the same for both, so the guard of memory is, too.
    """
    values = {
        "student": config.teacher.network.model_dump(exclude_unset=True),
        "thaw": {
            "progressive": False,
            "lr_scale": config.teacher.lr_scale or 0.1,
            "norm_eval": config.teacher.norm_eval,
        },
        "optimizer": {"schedule": "cosine"},
        "training": {"epochs": config.teacher.epochs or config.training.epochs},
        "description": f"teacher of {config.name}",
        "output": config.output / "teachers",
        "schedule_by_size": False,
    }
    # Sections are replaced, not merged: what the student was told about its thaw does not bind its teacher.
    kept = {
        key: value
        for key, value in config.model_dump(exclude_unset=True).items()
        if key not in ("student", "teacher", "distillation", "temperature", "thaw", "reactions")
    }
    training = kept.get("training", {})
    kept["training"] = {key: value for key, value in training.items() if key not in ("patience", "average")}
    kept["reactions"] = config.reactions.model_dump(include={"memory", "memory_limit"}, exclude_unset=True)
    kept["data"] = {**kept.get("data", {}), "unlabelled": None}
    of_task = {name: each for name, each in config.distillation.weight_schedules.items() if name in TASK_WEIGHTS}
    kept["distillation"] = {"enabled": False, **({"weight_schedules": of_task} if of_task else {})}
    teacher = with_values(ExperimentConfig(**kept), values)
    also = {
        "weights": teacher.student.weights,
        "patience": config.teacher.patience,
        "data": data_digest(labelled_only(splits)),
    }
    digest = digest_of({**without_later_defaults(identity_of(teacher)), **also})
    return with_values(teacher, {"name": f"{config.teacher.network.encoder}-{digest}"})
