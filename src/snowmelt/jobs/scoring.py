"""``--test-only``: the best weights of a run on the test images."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from snowmelt.build import examiner_of, load_network, make_scorer, open_teacher, teacher_experiment
from snowmelt.config import ExperimentConfig, merge, with_values
from snowmelt.data import Source
from snowmelt.errors import SnowmeltError
from snowmelt.jobs.page import refresh_report
from snowmelt.jobs.session import Session, open_session
from snowmelt.reporting import RunFolder
from snowmelt.teachers import Teaching
from snowmelt.training import Score


def score_run(config: ExperimentConfig) -> Score:
    """Score the run's best weights on the test part of its data (validation where there is none), and print it.

    The teacher is scored beside it where its weights are there. The figures are kept in ``test_scores.json``.

    Raises:
        SnowmeltError: the run has no weights yet.
    """
    folder = RunFolder(config.output / config.name)
    best = folder.checkpoints / "best.safetensors"
    if not best.exists():
        raise SnowmeltError(
            f"{folder.root}: has no checkpoints/best.safetensors to score; train it first", code="run-unfinished"
        )
    session = open_session(settings_of_run(folder, config))
    splits = session.splits
    part, source = ("test", splits.test) if splits.test is not None else ("val", splits.val)
    built = load_network(best, session.config.student, splits.classes)
    network = built.network.to(session.engine.device)
    scorer = make_scorer(session.config, source, session.engine, built.normalisation, existing_teacher(session, source))
    score = scorer.score(network)
    if session.leads:
        print_score(score, f"{config.name} on {len(source)} {part} images")
        write_score(folder.root / "test_scores.json", score, part, len(source))
        refresh_report(folder.root)
    return score


def settings_of_run(folder: RunFolder, asked: ExperimentConfig) -> ExperimentConfig:
    """What the run was trained with, so that ``--epochs``, ``--data`` and the rest need not be repeated.

    Data that are asked for now win, and so does the device: a run may be scored on other images, elsewhere.
    """
    if not folder.config_file.exists():
        return with_values(asked, {"data": {"unlabelled": None}})
    given = asked.model_dump(exclude_unset=True, include={"data": True, "training": {"precision"}})
    here = {
        "name": asked.name,
        "output": asked.output,
        "training": {"device": asked.training.device},
        "data": {"unlabelled": None},  # nothing there is scored, so the folder may be gone
    }
    return with_values(folder.read_settings(), merge(given, here))


def teacher_source_of(session: Session) -> str | None:
    """What names the experiment's teacher; ``None`` without one, or where the one it would train is not there."""
    config = session.config
    if not config.distills:
        return None
    if config.teacher.source != "auto":
        return config.teacher.source
    experiment = teacher_experiment(config, session.splits)
    path = RunFolder(experiment.output / experiment.name).checkpoints / "best.safetensors"
    return f"weights:{path}" if path.exists() else None


def existing_teacher(session: Session, source: Source) -> Teaching | None:
    """The experiment's teacher on the images of ``source`` if it can be asked about them; scoring does not train one.

    A student is scored without its teacher too, so one that has gone, or whose classes are not those of other data
    that are asked for, is said and left out.
    """
    config, given = session.config, teacher_source_of(session)
    if given is None:
        return None
    try:
        opened = open_teacher(config, given, session.splits, session.engine, session.say)
    except SnowmeltError as error:
        session.say(f"the teacher is not scored beside the student: {error}")
        return None
    if opened.maps is not None and not all(opened.maps.has(source.name(index)) for index in range(len(source))):
        return None  # maps were computed for the images that are trained on
    return examiner_of(opened, source)


def print_score(score: Score, title: str) -> None:
    """Student and teacher side by side, class by class."""
    table = Table(title=title)
    table.add_column("IoU")
    table.add_column("student", justify="right")
    if score.teacher_iou is not None:
        table.add_column("teacher", justify="right")
    for name, value in score.iou.items():
        row = [name, _figure(value)]
        if score.teacher_iou is not None:
            row.append(_figure(score.teacher_iou[name]))
        table.add_row(*row)
    table.add_section()
    last = ["mIoU", _figure(score.miou)]
    if score.teacher_miou is not None:
        last.append(_figure(score.teacher_miou))
    table.add_row(*last, style="bold")
    console = Console()
    console.print(table)
    if score.agreement is not None:
        console.print(f"Student and teacher agree on {100 * score.agreement:.1f} % of the pixels.", highlight=False)


def write_score(path: Path, score: Score, part: str, images: int) -> None:
    """The same figures for a script; a class that is absent is ``null``."""

    def plain(values: dict[str, float] | None) -> dict[str, Any] | None:
        return None if values is None else {name: _number(value) for name, value in values.items()}

    content = {
        "part": part,
        "images": images,
        "miou": _number(score.miou),
        "iou": plain(score.iou),
        "teacher_miou": None if score.teacher_miou is None else _number(score.teacher_miou),
        "teacher_iou": plain(score.teacher_iou),
        "agreement": score.agreement,
    }
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _figure(value: float) -> str:
    return "absent" if math.isnan(value) else f"{value:.4f}"
