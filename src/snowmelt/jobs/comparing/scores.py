"""What everybody is scored on, once; the counts are kept beside the run and never taken again."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.build import (
    digest_of,
    examiner_of,
    load_network,
    make_evaluation_batches,
    make_input,
    open_second_data,
)
from snowmelt.config import ExperimentConfig
from snowmelt.data import Source, can_be_stored, file_digest, keys_of
from snowmelt.disk import replacing
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.session import Session
from snowmelt.jobs.teaching import FoundTeacher
from snowmelt.training import Answer, Engine, answer_of, score_images

OWNER = "weights"  # in the file: the digest of what was scored


@dataclass(frozen=True)
class ScoredPart:
    """Images to score on: ``test``, ``val`` or ``transfer``; ``digest`` tells their content, with masks and classes."""

    name: str
    source: Source
    digest: str

    def key(self, config: ExperimentConfig) -> str:
        """Under which its counts are kept: they depend on the size of the images too."""
        return f"{self.name}-{digest_of({'images': self.digest, 'size': config.data.image_size})}"


def make_part(name: str, source: Source) -> ScoredPart:
    """Reads the files once for their digest."""
    keys = keys_of(source) if can_be_stored(source) else [source.digest(index) for index in range(len(source))]
    names = [source.name(index) for index in range(len(source))]
    return ScoredPart(name, source, digest_of({"classes": source.classes, "names": names, "keys": keys}))


def main_part(session: Session) -> ScoredPart:
    """The test part of the data, or validation where there is none."""
    test = session.splits.test
    return make_part("val", session.splits.val) if test is None else make_part("test", test)


def transfer_part(session: Session, spec: str | None) -> tuple[ScoredPart | None, str]:
    """The second data set, looked at as a whole, and which part of it that is.

    Raises:
        SnowmeltError: data that cannot be used, or classes that are not those of the first.
    """
    if spec is None:
        return None, ""
    source, part = open_second_data(session.config, spec, session.splits.classes)
    if session.leads:
        source.check()
    session.engine.barrier()
    return make_part("transfer", source), part


def score_student(session: Session, config: ExperimentConfig, best: Path, part: ScoredPart, path: Path) -> np.ndarray:
    """(I, C, C) counts of a run's best weights; from ``path`` where they are there.

    Raises:
        SnowmeltError: weights that do not fit.
    """

    def answer() -> Answer:
        built = load_network(best, config.student, part.source.classes)
        return answer_of(built.network, make_input(built.normalisation), session.engine)

    return _score(session.engine, config, part, path, file_digest(best), answer)


def score_teacher(session: Session, found: FoundTeacher, part: ScoredPart, path: Path) -> np.ndarray | None:
    """The same for a teacher; ``None`` for maps that were computed for other images."""
    maps, source = found.teacher.maps, part.source
    if maps is not None and not all(maps.has(source.name(index)) for index in range(len(source))):
        return None
    return _score(
        session.engine, session.config, part, path, found.teacher.digest, lambda: examiner_of(found.teacher, source)
    )


def read_scores(path: Path, owner: str) -> dict[str, np.ndarray]:
    """Counts in ``path`` by their key; none where it is not there, is not whole, or tells of other weights."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if OWNER not in file or str(file[OWNER]) != owner:
                return {}
            return {key: file[key] for key in file.files if key != OWNER}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise SnowmeltError(
            f"{path}: cannot be read ({error}); scores of these images were there, and test is read once: put it back, "
            "or delete it to score again",
            code="file-unreadable",
        ) from error


def _score(
    engine: Engine, config: ExperimentConfig, part: ScoredPart, path: Path, owner: str, answer: Callable[[], Answer]
) -> np.ndarray:
    known, key = read_scores(path, owner), part.key(config)
    if key not in known:
        batches = make_evaluation_batches(config, part.source, engine)
        known[key] = score_images(engine, batches, len(part.source), len(part.source.classes), answer())
        if engine.rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as file:
                content: dict[str, Any] = {OWNER: np.array(owner), **known}
                np.savez_compressed(file, **content)
        engine.barrier()
    return known[key]
