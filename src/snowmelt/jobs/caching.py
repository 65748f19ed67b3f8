"""How a teacher's answers reach a run; and ``snowmelt cache``, which computes them beforehand."""

from __future__ import annotations

from dataclasses import replace

import torch
from rich.console import Console

from snowmelt.build import BuiltTeaching, ProgressLines, cache_root, choose_mode, live_teaching, stored_teaching
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.locking import held
from snowmelt.jobs.session import Session, as_asked, open_session
from snowmelt.jobs.teaching import FoundTeacher, find_teacher
from snowmelt.reporting import effects_table
from snowmelt.teachers.cache import FillReport, TeacherCache


def prepare_teaching(session: Session, found: FoundTeacher) -> tuple[Session, BuiltTeaching]:
    """The teacher ready for the loop, its answers stored first where they will be read from a cache.

    Returns:
        The session with its settings' mode decided, and the teaching.

    Raises:
        SnowmeltError: a mode that this teacher cannot serve, or a cache that cannot be filled.
    """
    mode = choose_mode(session.config, found.teacher)
    session = replace(session, config=with_values(session.config, {"teacher": {"mode": mode}}))
    if mode == "live":
        session.say("teacher: asked live, at every step")
        return session, live_teaching(found.teacher)
    return session, fill_cache(session, found)[0]


def fill_cache(session: Session, found: FoundTeacher) -> tuple[BuiltTeaching, TeacherCache, FillReport]:
    """Store what is missing, and say what that was. Two runs do not ask one teacher the same at the same time."""
    root, name = cache_root(session.config), found.teacher.digest[:16]
    what = f"{root}: another run stores answers of this teacher"
    lock = root / f".{name}.lock"
    with held(session.engine, lock, what, waits=True, say=session.say, needed=False):
        teaching, cache, report = stored_teaching(
            session.config,
            found.teacher,
            session.splits,
            session.engine,
            session.say,
            ProgressLines("teacher cache", session.say),
        )
    encoding, images = cache.encoding, len(session.splits.train)
    asked = int(session.engine.sum_over_processes(torch.tensor(report.images, device=session.engine.device)))
    done = (
        f"{asked} images asked in {report.seconds:.1f} s ({asked / max(report.seconds, 1e-9):.1f} images/s), "
        f"{images} are used"
        if asked
        else f"the answers to all {images} images are there"
    )
    session.say(
        f"teacher cache: {done}; {encoding.precision}, stride {encoding.stride}, {report.bytes_per_image:,} bytes an "
        f"image, in {cache.folder}"
    )
    return teaching, cache, report


def cache_teacher(config: ExperimentConfig) -> FillReport:
    """Ask the teacher about every training image and keep the answers; print what each encoding would cost.

    Raises:
        SnowmeltError: no teacher, a teacher that is to be asked live, or a cache that cannot be filled.
    """
    if not config.distills:
        raise SnowmeltError(
            f"{config.name} has no teacher to cache; distillation.enabled or teacher.source says so",
            code="teacher-none",
        )
    if config.teacher.mode == "live" or config.distillation.matches_features:  # before a teacher is trained for it
        why = "features are matched" if config.distillation.matches_features else "teacher.mode says so"
        raise SnowmeltError(
            f"{config.name} asks its teacher live ({why}); there is nothing to cache", code="teacher-none"
        )
    with as_asked(config):
        session = open_session(config)
        found = find_teacher(session)
        assert found is not None
        _, cache, report = fill_cache(session, found)
    if session.leads:
        Console().print(effects_table(cache.effects, cache.encoding))
    return report
