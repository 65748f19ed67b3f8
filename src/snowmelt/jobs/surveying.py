"""``snowmelt check-data``: look at every picture and mask once, and say what is there, what is wrong and what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from snowmelt.build import ProgressLines, is_scenes, settle
from snowmelt.build.data import FILES_SIZE, SCENES_SIZE
from snowmelt.build.settling import thaw_for_size
from snowmelt.config import ExperimentConfig
from snowmelt.data.survey import Survey, open_parts, survey
from snowmelt.jobs.survey_files import write_survey
from snowmelt.reporting import finding_line, survey_tables

WHY = "on photographs a frozen start cost more than it brought, and this rate was best: docs/recipe.md"
STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
SMALL = 0.25  # of a class's regions


def check_data(config: ExperimentConfig, *, as_json: bool = False, output: Path | None = None) -> bool:
    """Print what the data of ``config`` holds and whether training would take it, which is also what is returned.

    Args:
        output: folder for check.json and pictures; existing ones of these names are replaced.

    Raises:
        SnowmeltError: there is nothing to look at.
    """
    begun = time.monotonic()
    found = survey_data(config)
    content = describe_survey(config, found)
    content["seconds"] = round(time.monotonic() - begun, 2)
    if as_json:
        print(json.dumps(content, indent=2))
    else:
        _print(content)
    if output is not None:
        written = write_survey(found, content, output)
        Console(stderr=as_json).print(f"written: {', '.join(map(str, written))}", soft_wrap=True, highlight=False)
    return found.sound


def survey_data(config: ExperimentConfig) -> Survey:
    """The pass itself, with progress on stderr."""
    data = config.data
    size = data.image_size or (SCENES_SIZE if is_scenes(config) else FILES_SIZE)
    opened = open_parts(
        data.source,
        val=data.val,
        val_fraction=data.val_fraction,
        seed=data.seed,
        image_size=size,
        image_folder=data.image_folder,
        mask_folder=data.mask_folder,
        classes=data.classes,
        unlabelled=data.unlabelled,
    )
    with _progress() as done:
        return survey(opened, val_fraction=data.val_fraction, seed=data.seed, image_size=size, done=done)


def describe_survey(config: ExperimentConfig, found: Survey) -> dict[str, Any]:
    """What check.json holds: the survey, the schedule for so many images, and hints on the image size."""
    images = found.count("train")
    if config.data.limit is not None:
        images = min(images, config.data.limit)
    return {**found.to_dict(), "image_size": found.image_size, "schedule": schedule_for(images), "hints": _hints(found)}


def schedule_for(images: int) -> dict[str, Any]:
    """What ``auto`` chooses for so many training images, why, and the experiment that has the published advice."""
    settled, _ = settle(ExperimentConfig(name="auto", schedule_by_size=True), images, classes=2)
    thaw = settled.thaw
    return {
        "images": images,
        "epochs": settled.training.epochs,
        "progressive": thaw.progressive,
        "lr_scale": thaw.lr_scale,
        "why": WHY,
        "published": thaw_for_size(images)[0],
    }


def _hints(found: Survey) -> list[str]:
    """Classes of which many regions are lost at the size that the networks see, and how many at twice of it."""
    from snowmelt.data.survey import small_regions

    size = found.image_size
    now, twice = (small_regions(found.tally, found.meaning, each) for each in (size, 2 * size))
    return [
        f"at {size} px, {100 * now[index]:.0f} % of the regions of {name} are smaller than 4 x 4 pixels "
        f"(at {2 * size} px {100 * twice[index]:.0f} %); --image-size changes that"
        for index, name in enumerate(found.meaning.classes)
        if index > 0 and now[index] > SMALL
    ]


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; without one a line now and then."""
    console = Console(stderr=True)
    if not console.is_terminal:
        begun = time.monotonic()
        lines = ProgressLines("check-data", lambda text: print(text, file=sys.stderr, flush=True))
        yield lambda done, total: lines(done, total, done / max(time.monotonic() - begun, 1e-9))
        return
    columns = (TextColumn("looking"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(content: dict[str, Any]) -> None:
    console = Console()
    for table in survey_tables(content):
        console.print(table)
    if content["val_set_apart_by_name"]:
        console.print(
            "The data has no val of its own: its images are set apart by name, as training does.", highlight=False
        )
    root = content["data"]
    for finding in content["findings"]:
        line = Text.assemble((f"{finding['level']}: ", STYLES[finding["level"]]), finding_line(finding, root))
        console.print(line, soft_wrap=True)
    for hint in content["hints"]:
        console.print(Text.assemble(("note: ", STYLES["note"]), hint), soft_wrap=True)
    plan = content["schedule"]
    console.print(
        f"schedule: {plan['images']} training images, so 'auto' takes {plan['epochs']} epochs, the whole encoder from "
        f"epoch 0 on, encoder rate x {plan['lr_scale']} ({plan['why']}); the published advice for so many images is "
        f"'{plan['published']}'",
        soft_wrap=True,
        highlight=False,
    )
    errors = sum(finding["level"] == "error" for finding in content["findings"])
    images = sum(split["images"] for split in content["splits"])
    verdict = (
        "training takes this data" if content["sound"] else f"training refuses this data: {errors} kinds of errors"
    )
    if errors == 1:
        verdict = verdict.removesuffix("s of errors") + " of error"
    console.print(
        f"{verdict} ({images} images looked at in {content['seconds']:.1f} s)", soft_wrap=True, highlight=False
    )
