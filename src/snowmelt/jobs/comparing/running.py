"""Every run of a comparison: refused before anything trains, trained or gone on with, scored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from snowmelt.config import ExperimentConfig
from snowmelt.data import file_digest
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.comparing.layout import CompareFolder, run_name
from snowmelt.jobs.comparing.preparing import ReadyArm
from snowmelt.jobs.comparing.scaling import with_epochs
from snowmelt.jobs.comparing.scores import ScoredPart, score_student
from snowmelt.jobs.comparing.teachers import Taught
from snowmelt.jobs.locking import held_run
from snowmelt.jobs.records import is_finished, read_record
from snowmelt.jobs.running import check_same_settings, run_training
from snowmelt.jobs.teaching import check_student
from snowmelt.reporting import RunFolder
from snowmelt.training import has_checkpoint


@dataclass
class Failures:
    """Runs that did not come to their end, with the reason; the others go on without them."""

    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, arm: str, seed: int, error: SnowmeltError) -> str:
        """Keep it, and a line to say."""
        self.reasons[run_name(arm, seed)] = str(error)
        return f"{run_name(arm, seed)} failed, the others go on: {error}"


def refuse_other_settings(arms: Iterable[ReadyArm], folder: CompareFolder, epochs: dict[str, int]) -> None:
    """Look at all runs of these arms that are there, those of other seeds too, before anything is trained.

    Args:
        epochs: by arm, where they are decided apart from its settings.

    Raises:
        SnowmeltError: names each setting in which one differs.
    """
    for ready in arms:
        given = ready.with_config(with_epochs(ready.config, epochs.get(ready.name, ready.config.training.epochs)))
        for seed in folder.seeds_of(ready.name):
            before = folder.run(ready.name, seed)
            config = given.of_seed(folder, seed)
            if ready.config.teacher.mode == "auto" and before.config_file.exists():
                mode = before.read_settings().teacher.mode  # decided from teacher and losses, which are compared
                config = config.model_copy(update={"teacher": config.teacher.model_copy(update={"mode": mode})})
            check_same_settings(before.root, config, anew="--run-name")
            refuse_unpaired(before, config)


def refuse_unpaired(before: RunFolder, config: ExperimentConfig) -> None:
    """Refuse what one run may change when it goes on, but one seed may not have otherwise than the next.

    Raises:
        SnowmeltError: the run began from other weights, or made more steps than runs may make now.
    """
    if not before.config_file.exists():
        return
    was, now, most = before.read_settings().student.weights, config.student.weights, config.training.max_steps
    steps = int((read_record(before.root) or {}).get("step", 0))
    different = [] if same_weights(was, now) else [f"student.weights was {was!r} and is now {now!r}"]
    if most is not None and steps > most:
        different.append(f"it made {steps} steps and training.max_steps is now {most}")
    if different:
        raise SnowmeltError(
            f"{before.root}: other seeds would not be comparable with this one: {'; '.join(different)}; "
            "give the same settings, or start another comparison with --run-name",
            code="run-other-settings",
        )


def same_weights(was: str, now: str) -> bool:
    """Whether two names of weights mean the same ones: files may have moved, and nobody kept their content."""
    if was == now or {was, now} & {"none", "imagenet"}:
        return was == now
    first, second = Path(was), Path(now)
    if first.is_file() and second.is_file():
        return first.samefile(second) or file_digest(first) == file_digest(second)
    return first.name == second.name


def refuse_students_without_weights(arms: Iterable[ReadyArm], folder: CompareFolder, seeds: Iterable[int]) -> None:
    """Build the student of every arm that has a run to begin, once, before a teacher is trained for it.

    Raises:
        SnowmeltError: weights that are not there or do not fit.
    """
    arms_by_student: dict[str, ReadyArm] = {}
    wanted = tuple(seeds)
    for ready in arms:
        if not all(has_checkpoint(folder.run(ready.name, seed).checkpoints) for seed in wanted):
            arms_by_student.setdefault(ready.config.student.model_dump_json(), ready)
    for ready in arms_by_student.values():
        try:
            check_student(ready.session)
        except SnowmeltError as error:
            raise SnowmeltError(f"arm {ready.name}: {error}", code=error.code) from error


def train_seed(
    taught: Taught,
    seed: int,
    folder: CompareFolder,
    parts: Iterable[ScoredPart],
    failures: Failures,
) -> None:
    """All arms with one seed; each is trained to its end and its best weights are scored at once."""
    for ready in taught.arms:
        session = ready.session
        config = ready.of_seed(folder, seed)
        session.say(f"\n=== {config.name}: {ready.arm.description}\n")
        try:
            train_one(ready, seed, folder, taught)
        except SnowmeltError as error:
            session.say(failures.add(ready.name, seed, error))
            continue
        if is_done(ready, seed, folder):
            for part in parts:
                best = folder.run(ready.name, seed).checkpoints / "best.safetensors"
                score_student(session, config, best, part, folder.scores(ready.name, seed))
        else:
            nothing = SnowmeltError("no epoch has a score, so there are no best weights", code="run-unfinished")
            session.say(failures.add(ready.name, seed, nothing))


def train_one(ready: ReadyArm, seed: int, folder: CompareFolder, taught: Taught) -> None:
    """Begin the run, go on with it, or find it finished.

    Raises:
        SnowmeltError: it cannot be trained to its end.
    """
    session, found = ready.session, taught.found.get(ready.name)
    with held_run(session.engine, folder.run(ready.name, seed).root, "wait for it, or give other --seeds"):
        run_training(
            session,
            ready.of_seed(folder, seed),
            resume=True,
            teaching=taught.teachings.get(ready.name),
            notices=() if found is None else (*session.doubts, *found.notices),
        )


def is_done(ready: ReadyArm, seed: int, folder: CompareFolder) -> bool:
    """Whether a run has come to its end, with weights that have a score."""
    run = folder.run(ready.name, seed)
    record = read_record(run.root)
    return (
        is_finished(record, ready.config.training.max_steps)
        and record is not None
        and record.get("best_miou") is not None
        and (run.checkpoints / "best.safetensors").exists()
    )
