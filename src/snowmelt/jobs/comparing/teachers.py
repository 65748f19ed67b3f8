"""The teachers of a comparison: each is found or trained once, and its answers are stored once, for all arms."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from snowmelt.build import BuiltTeaching, choose_mode, live_teaching
from snowmelt.config import with_values
from snowmelt.jobs.caching import fill_cache
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.preparing import ReadyArm
from snowmelt.jobs.session import Session
from snowmelt.jobs.teaching import FoundTeacher, find_teacher, run_folder_of
from snowmelt.reporting import read_metrics, replace_file


@dataclass
class Taught:
    """What the teachers of a comparison have come to.

    Attributes:
        arms: the arms with the mode of their teacher decided.
        found: by arm; arms with one teacher have the same object.
        teachings: how its answers reach an arm, by arm.
    """

    arms: list[ReadyArm]
    found: dict[str, FoundTeacher] = field(default_factory=dict)
    teachings: dict[str, BuiltTeaching] = field(default_factory=dict)

    def shared(self) -> tuple[FoundTeacher, Session] | None:
        """The teacher of the first arm that has one, and its session."""
        for ready in self.arms:
            if ready.teacher_session is not None:
                return self.found[ready.name], ready.teacher_session
        return None


def teach_arms(arms: list[ReadyArm], folder: CompareFolder) -> Taught:
    """Find or train every teacher, and store what arms will read of it.

    Raises:
        SnowmeltError: no such teacher, a mode that it cannot serve, or a cache that cannot be filled.
    """
    by_session: dict[int, FoundTeacher] = {}
    taught = Taught([])
    begun = any(folder.seeds_of(ready.name) for ready in arms if ready.teacher_session is not None)
    decided = []
    for ready in arms:
        session = ready.teacher_session
        if session is not None:
            if id(session) not in by_session:
                found = find_teacher(session, keep=begun)
                assert found is not None
                by_session[id(session)] = found
            taught.found[ready.name] = found = by_session[id(session)]
            mode = choose_mode(ready.config, found.teacher)
            ready = ready.with_config(with_values(ready.config, {"teacher": {"mode": mode}}))
        decided.append(ready)
    taught.arms = decided
    for ready in decided:
        found_now = taught.found.get(ready.name)
        if found_now is None or ready.name in taught.teachings:
            continue
        if ready.config.teacher.mode == "live":
            taught.teachings[ready.name] = live_teaching(found_now.teacher)
            continue
        key = _key_of_store(ready, taught)
        sharing = [
            each for each in decided if each.config.teacher.mode == "cached" and _key_of_store(each, taught) == key
        ]
        taught.teachings.update(dict.fromkeys([each.name for each in sharing], _fill(sharing, found_now, folder)))
    return taught


def training_seconds(source: str) -> float | None:
    """Seconds of training steps of the teacher that ``source`` names; ``None`` where it was not trained here."""
    root = run_folder_of(source)
    if root is None or not (root / "timing.csv").exists():
        return None
    seconds = [row.get("train_seconds") for row in read_metrics(root / "timing.csv")]
    known = [float(each) for each in seconds if isinstance(each, int | float)]
    return sum(known) if known else None


def cache_seconds(folder: CompareFolder, digest: str) -> float | None:
    """Seconds of the pass that stored a teacher's answers, all parts of it; ``None`` where it was made elsewhere."""
    return _read_seconds(folder).get(digest)


def _key_of_store(ready: ReadyArm, taught: Taught) -> tuple[int, str, str | int, int]:
    """Arms for which this is the same read the same stored answers."""
    teacher = ready.config.teacher
    return id(taught.found.get(ready.name)), teacher.cache_precision, teacher.cache_stride, id(ready.session.splits)


def _fill(sharing: list[ReadyArm], found: FoundTeacher, folder: CompareFolder) -> BuiltTeaching:
    """Store what is missing, in a form that is measured at the ends of all temperatures that any of these arms has.

    The choice is kept beside the cache. Were it left to the first arm, its temperatures alone would decide for all.
    """
    configs = [ready.config for ready in sharing]
    lengths = [(config.temperature.schedule(), config.training.epochs) for config in configs]
    values = [schedule.at(epoch, epochs) for schedule, epochs in lengths for epoch in range(epochs)]
    span = {"kind": "piecewise", "milestones": {0: max(values), 1: min(values)}}
    session = sharing[0].session
    session = replace(session, config=with_values(configs[0], {"temperature": span}))
    teaching, _, report = fill_cache(session, found)
    if report.images and session.leads:
        seconds = _read_seconds(folder)
        digest = found.teacher.digest
        seconds[digest] = seconds.get(digest, 0.0) + report.seconds
        folder.root.mkdir(parents=True, exist_ok=True)
        replace_file(folder.cache_seconds_file, json.dumps(seconds, indent=2) + "\n")
    return teaching


def _read_seconds(folder: CompareFolder) -> dict[str, float]:
    path = folder.cache_seconds_file
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}
