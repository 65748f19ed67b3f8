"""How the teacher's answers reach training: asked live, or stored before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from snowmelt.build.data import FILES_SIZE, worker_count
from snowmelt.build.networks import output_channels
from snowmelt.build.teacher import OpenedTeacher, Say
from snowmelt.config import ExperimentConfig
from snowmelt.data import MapStore, Source, Splits
from snowmelt.errors import SnowmeltError
from snowmelt.teachers import LiveTeaching, NamedTeaching, StoredTeaching, Teaching
from snowmelt.teachers.cache import (
    Answers,
    Effect,
    FillReport,
    TeacherCache,
    answers_of_maps,
    answers_of_teacher,
    candidates,
    choose,
    digests_of,
    fill,
    find_effects,
    measure,
    open_cache,
    probe,
)
from snowmelt.training import Engine

Mode = Literal["live", "cached"]
Progress = Callable[[int, int, float], None]


@dataclass(frozen=True)
class BuiltTeaching:
    """Who answers in training (``train``) and in validation (``examine``), and what a run has to know of it.

    Attributes:
        maps: stored answers that travel with the training images; ``None`` where the teacher is asked live.
        digest: of the teacher and of how its answers are stored.
        network: the teacher's, for feature matching; ``None`` where it has none or is not asked live.
        name: of the teacher, for a person.
    """

    train: Teaching
    examine: Teaching
    digest: str
    maps: MapStore | None = None
    network: nn.Module | None = None
    name: str = "the teacher"


def choose_mode(config: ExperimentConfig, opened: OpenedTeacher) -> Mode:
    """``auto`` as what this teacher and these losses allow: cached wherever that is possible.

    Raises:
        SnowmeltError: a mode, or feature matching, that this teacher cannot serve.
    """
    asked, features = config.teacher.mode, config.distillation.matches_features
    if features and opened.network is None:
        raise SnowmeltError(
            f"distillation.feature_weight: features need a teacher that is a network here, not {opened.describe()}; "
            "give a run folder or a weights file",
            code="teacher-mode",
        )
    if opened.model is None:
        if asked == "live":
            raise SnowmeltError(
                "teacher.mode: precomputed maps cannot be asked live; use teacher.mode=cached", code="teacher-mode"
            )
        return "cached"
    if asked == "auto":
        return "live" if features else "cached"
    return asked


def live_teaching(opened: OpenedTeacher) -> BuiltTeaching:
    """The teacher itself answers at every step."""
    assert opened.model is not None
    teaching = LiveTeaching(opened.model)
    return BuiltTeaching(teaching, teaching, opened.digest, network=opened.network, name=opened.describe())


def stored_teaching(
    config: ExperimentConfig,
    opened: OpenedTeacher,
    splits: Splits,
    engine: Engine,
    say: Say,
    progress: Progress | None = None,
) -> tuple[BuiltTeaching, TeacherCache, FillReport]:
    """Stored answers to all training images; those that are missing are computed first.

    Raises:
        SnowmeltError: no space, a folder that cannot be written, an image or an answer that is not usable.
    """
    digests = digests_of(splits.train)
    cache = find_cache(config, opened, splits, engine, say)
    report = fill(
        cache,
        answers_of(opened, engine),
        splits.train,
        digests=digests,
        batch_size=max(8, config.training.batch_size),
        workers=worker_count(config),
        rank=engine.rank,
        world_size=engine.world_size,
        progress=progress,
    )
    engine.barrier()
    cache.refresh()
    teaching = BuiltTeaching(
        StoredTeaching(cache.encoding),
        examiner_of(opened, splits.val),
        f"{opened.digest} {cache.encoding.key}",
        maps=cache.view(digests),
        name=f"stored answers of {opened.describe()}",
    )
    return teaching, cache, report


def examiner_of(opened: OpenedTeacher, source: Source) -> Teaching:
    """Who answers about the images of ``source`` as they are: the teacher itself, or the map of each image."""
    if opened.model is not None:
        return LiveTeaching(opened.model)
    assert opened.maps is not None
    names = [source.name(index) for index in range(len(source))]
    return NamedTeaching(opened.maps, names, None if opened.mapping is None else opened.mapping.apply)


def answers_of(opened: OpenedTeacher, engine: Engine) -> Answers:
    """Where the answers for the cache come from."""
    if opened.model is not None:
        return answers_of_teacher(opened.model, engine.device)
    assert opened.maps is not None
    return answers_of_maps(opened.maps, None if opened.mapping is None else opened.mapping.apply)


def cache_root(config: ExperimentConfig) -> Path:
    """The folder in which the caches of all teachers lie."""
    return config.teacher.cache_folder or config.output / "teacher-cache"


def find_cache(
    config: ExperimentConfig, opened: OpenedTeacher, splits: Splits, engine: Engine, say: Say
) -> TeacherCache:
    """The cache of this teacher in the encoding that the settings ask for, or that measurement recommends.

    The first process chooses; the others find its table beside the cache and so choose the same.
    """
    if engine.rank > 0:
        engine.barrier()
    effects = measured_effects(config, opened, splits, engine)
    chosen = choose(effects, say=say)
    cache = open_cache(
        cache_root(config),
        opened.digest,
        chosen.encoding,
        description=opened.describe(),
        classes=splits.classes,
        effects=effects,
        say=say,
    )
    if engine.rank == 0:
        engine.barrier()
    return cache


def measured_effects(
    config: ExperimentConfig, opened: OpenedTeacher, splits: Splits, engine: Engine
) -> Sequence[Effect]:
    """What each encoding in question costs on this teacher's answers to a dozen training images."""
    size, channels = config.data.image_size or FILES_SIZE, output_channels(splits.classes)
    precision, stride = config.teacher.cache_precision, config.teacher.cache_stride
    wanted = candidates(
        channels, size, None if precision == "auto" else precision, None if stride == "auto" else stride
    )
    known = find_effects(cache_root(config), opened.digest, size, channels)
    of_interest = [effect for effect in known if effect.encoding in wanted]
    if len(of_interest) == len(wanted):
        return of_interest
    schedule, epochs = config.temperature.schedule(), config.training.epochs
    temperatures = [schedule.at(epoch, epochs) for epoch in range(epochs)]
    logits, filled = probe(answers_of(opened, engine), splits.train, size)
    return measure(wanted, logits, filled, sorted({min(temperatures), max(temperatures)}))
