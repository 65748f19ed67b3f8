"""From run folders to a comparison: what was trained, by whomever, read back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from snowmelt.data import Source
from snowmelt.jobs.compare_request import CompareRequest
from snowmelt.jobs.comparing.layout import CompareFolder
from snowmelt.jobs.comparing.preparing import ReadyArm
from snowmelt.jobs.comparing.running import is_done
from snowmelt.jobs.comparing.scores import ScoredPart, make_part, score_student, score_teacher
from snowmelt.jobs.comparing.teachers import Taught, cache_seconds, training_seconds
from snowmelt.jobs.records import read_record
from snowmelt.jobs.session import Session
from snowmelt.jobs.teaching import FoundTeacher, run_folder_of, teacher_source
from snowmelt.reporting import RunFolder, draw_comparison, read_metrics, replace_file
from snowmelt.study import ArmResult, ArmRun, Comparison, TeacherResult, base_of, mean_iou_of


@dataclass(frozen=True)
class Material:
    """All that a comparison is made from.

    Attributes:
        part, transfer: what everybody is scored on; ``transfer`` is ``None`` without a second data set.
        base: name of the arm that the others are compared with.
        notes: what a reader should know, before any run.
    """

    request: CompareRequest
    folder: CompareFolder
    main: Session
    taught: Taught
    part: ScoredPart
    transfer: ScoredPart | None
    notes: tuple[str, ...] = ()

    @property
    def base(self) -> str:
        return base_of([ready.arm for ready in self.taught.arms]).name


def collect(material: Material, failed: Mapping[str, str]) -> Comparison | None:
    """The comparison of all runs that are finished; ``None`` while the base has none.

    An arm without a finished run is left out, and the notes say so. All processes have to call this: a run that
    somebody else trained may not be scored yet.
    """
    arms = []
    notes = [*material.notes, *(f"{run} failed and is left out: {reason}" for run, reason in failed.items())]
    for ready in material.taught.arms:
        seeds = [seed for seed in material.folder.seeds_of(ready.name) if is_done(ready, seed, material.folder)]
        runs = tuple(_read_run(material, ready, seed) for seed in seeds)
        if runs:
            arms.append(ArmResult(ready.name, ready.arm.description, ready.arm.teacher, runs, ready.arm.schedule))
        else:
            notes.append(f"arm {ready.name} has no finished run and is left out")
    if material.base not in [arm.name for arm in arms]:
        return None
    missing = _uneven(arms)
    return Comparison(
        name=material.request.config.name,
        part="test" if material.part.name == "test" else "val",
        classes=material.main.splits.classes,
        budget=material.request.budget,
        base=material.base,
        arms=tuple(arms),
        teacher=_teacher(material),
        notes=(*notes, *missing),
    )


def write_comparison(material: Material, comparison: Comparison) -> dict[str, Any]:
    """``comparison.json`` and ``comparison.png``; the content of the former."""
    content = comparison.to_dict()
    if material.main.leads:
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        replace_file(material.folder.json_file, text + "\n")
        draw_comparison(material.folder.plot_file, content)
    return content


def _read_run(material: Material, ready: ReadyArm, seed: int) -> ArmRun:
    folder = material.folder
    run, config = folder.run(ready.name, seed), ready.of_seed(folder, seed)
    record = read_record(run.root)
    assert record is not None
    rows = read_metrics(run.metrics_file)
    best = next(row for row in rows if row["epoch"] == record["best_epoch"])
    agreement = best.get("agreement")
    seconds, speed = _times(run, [row["epoch"] for row in rows])

    def scores(part: ScoredPart) -> Any:
        weights = run.checkpoints / "best.safetensors"
        return score_student(ready.session, config, weights, part, folder.scores(ready.name, seed))

    return ArmRun(
        seed=seed,
        epochs=len(rows),
        steps=int(record["step"]),
        best_epoch=int(record["best_epoch"]),
        val_miou=float(record["best_miou"]),
        val_curve=tuple(_number(row.get("miou")) for row in rows),
        seconds_curve=tuple(seconds),
        images_per_second=speed,
        matrices=scores(material.part),
        transfer=None if material.transfer is None else scores(material.transfer),
        agreement=float(agreement) if isinstance(agreement, int | float) else None,
    )


def _times(run: RunFolder, epochs: Sequence[Any]) -> tuple[list[float], float]:
    """Seconds of training steps at the end of each epoch, added up, and images per second over all of them."""
    by_epoch = {row["epoch"]: row for row in read_metrics(run.timing_file)}
    seconds = [_number(by_epoch.get(epoch, {}).get("train_seconds")) for epoch in epochs]
    speeds = [_number(by_epoch.get(epoch, {}).get("images_per_second")) for epoch in epochs]
    ends = list(accumulate(seconds))
    images = sum(time * speed for time, speed in zip(seconds, speeds, strict=True))
    return ends, images / ends[-1] if ends[-1] > 0 else math.nan


def _teacher(material: Material) -> TeacherResult | None:
    shared = material.taught.shared()
    if shared is None:
        return None
    found, session = shared
    source = teacher_source(session)
    path, transfer = material.folder.teacher_scores, material.transfer
    return TeacherResult(
        name=_name_of(source),
        val_miou=_validation_score(material, found, session),
        matrices=score_teacher(session, found, material.part, path),
        transfer=None if transfer is None else score_teacher(session, found, transfer, path),
        training_seconds=training_seconds(source),
        cache_seconds=cache_seconds(material.folder, found.teacher.digest),
    )


def _validation_score(material: Material, found: FoundTeacher, session: Session) -> float | None:
    """As its own training has it; else by asking it about the validation images."""
    if found.miou is not None:
        return found.miou
    part = material.part if material.part.name == "val" else _val_part(session.splits.val)
    matrices = score_teacher(session, found, part, material.folder.teacher_scores)
    return None if matrices is None else float(mean_iou_of(matrices.sum(0)))


def _val_part(source: Source) -> ScoredPart:
    return make_part("val", source)


def _name_of(source: str) -> str:
    root = run_folder_of(source)
    return source if root is None else root.name


def _uneven(arms: Sequence[ArmResult]) -> list[str]:
    """Seeds that not every arm has, which the paired differences leave out."""
    seeds = {arm.name: {run.seed for run in arm.runs} for arm in arms}
    everywhere = set.intersection(*seeds.values())
    lacking = {seed: [name for name in seeds if seed not in seeds[name]] for seed in set().union(*seeds.values())}
    return [
        f"seed {seed} is not finished in {', '.join(lacking[seed])}"
        for seed in sorted(lacking)
        if seed not in everywhere
    ]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
