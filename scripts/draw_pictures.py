"""Train the run of ``pictures.yaml`` on embedded scenes and draw the pictures of the documents from it.

`make pictures` runs it. The teacher and the student are trained once, into ``experiments/``; a second call only draws.
On one machine the same pictures come out, to the byte.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import picture_plots as plots
import torch

from snowmelt.build import make_input, make_plan_of, teacher_experiment
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.data import Sample, Source, Splits
from snowmelt.evaluation import mean_iou
from snowmelt.jobs import teach_experiment, train_experiment
from snowmelt.jobs.opening import TrainedRun, open_run
from snowmelt.jobs.session import open_session

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ROOT / "scripts" / "pictures.yaml"
PICTURES = ROOT / "docs" / "pictures"
SHOWN = (3, 15, 27, 39)  # epochs (from 0) after which the student is looked at


@dataclass(frozen=True)
class Scene:
    """One validation scene and the teacher's logits (H, W) for it."""

    sample: Sample
    teacher: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of the documents from a run of their own.")
    parser.add_argument("--output", type=Path, default=ROOT / "experiments", help="where the run lies, or will lie")
    parser.add_argument("--settings", type=Path, default=SETTINGS, help="of the run; a shorter one tries the way there")
    parser.add_argument("--pictures", type=Path, default=PICTURES, help="where the pictures go")
    arguments = parser.parse_args()
    config = with_values(ConfigManager.get_config(str(arguments.settings)), {"output": str(arguments.output)})
    session = open_session(config)
    splits = session.splits
    students = [open_run(path) for path in train_with_snapshots(config, len(splits.train))]
    teacher = open_teacher_of(session.config, splits)

    number = representative(splits.val, teacher, students[-1])
    scene = Scene(splits.val.load(number), logits_of(teacher, splits.val.load(number)))
    plan = make_plan_of(config)
    masks = [logits_of(student, scene.sample) > 0 for student in students]
    folder = arguments.pictures
    folder.mkdir(parents=True, exist_ok=True)
    plots.draw_run(folder / "run.png", scene.sample, scene.teacher, dict(zip(SHOWN, masks, strict=True)), plan)
    plots.draw_temperature(folder / "temperature.png", scene.sample, scene.teacher)
    plots.draw_thawing(folder / "thawing.png", plan)
    plots.draw_schedule(folder / "reference.png", make_plan_of(ConfigManager.get_config(REFERENCE)))
    print(f"drawn from {splits.val.name(number)} into {folder}")


def train_with_snapshots(config: ExperimentConfig, images: int) -> list[Path]:
    """The student's weights after each of the epochs ``SHOWN``, by cutting one run there and going on with it."""
    folder = config.output / f"{config.name}-snapshots"
    paths = [folder / f"epoch-{epoch}.safetensors" for epoch in SHOWN]
    if all(path.exists() for path in paths):
        return paths
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    teach_experiment(config)
    for number, (epoch, path) in enumerate(zip(SHOWN, paths, strict=True)):
        steps = (epoch + 1) * (images // config.training.batch_size)
        part = with_values(config, {"training": {"max_steps": steps}})
        train_experiment(part, resume=number > 0, overwrite=number == 0)
        shutil.copy(config.output / config.name / "checkpoints" / "last.safetensors", path)
    return paths


def open_teacher_of(config: ExperimentConfig, splits: Splits) -> TrainedRun:
    experiment = teacher_experiment(config, splits)
    return open_run(experiment.output / experiment.name)


def logits_of(run: TrainedRun, sample: Sample) -> np.ndarray:
    """(H, W) logits of one scene, which has the size that the network was trained at."""
    images = torch.from_numpy(sample.image.copy()).permute(2, 0, 1).unsqueeze(0)
    with torch.no_grad():
        return run.network(make_input(run.normalisation)(images))[0, 0].float().numpy()


def representative(source: Source, teacher: TrainedRun, student: TrainedRun) -> int:
    """The usual scene, not the best: of those with people, the one whose two scores lie nearest to their medians."""
    scores = []
    for index in range(len(source)):
        sample = source.load(index)
        people = float((sample.mask == 1).mean())
        both = [score(logits_of(run, sample), sample) for run in (teacher, student)]
        scores.append((index, people, *both))
    table = np.array([row for row in scores if 0.12 <= row[1] <= 0.4])
    distance = np.abs(table[:, 2:] - np.median(table[:, 2:], axis=0)).sum(axis=1)
    return int(table[distance.argmin(), 0])


def score(logits: np.ndarray, sample: Sample) -> float:
    prediction = torch.from_numpy((logits > 0).astype(np.int64))[None]
    return float(mean_iou(prediction, torch.from_numpy(sample.mask.astype(np.int64))[None], classes=2)[0])


if __name__ == "__main__":
    main()
