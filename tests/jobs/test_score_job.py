"""``--test-only``: the best weights on the test images, with what the run was trained with."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.config import with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import score_run, train_experiment
from snowmelt.jobs.scoring import print_score, write_score
from snowmelt.reporting import read_metrics
from snowmelt.training import Score

pytestmark = pytest.mark.usefixtures("draws_nothing")


def test_student_and_teacher_are_scored_side_by_side(cycle_copy: Any) -> None:
    score, said = overheard(score_run, cycle_copy.distilled())
    root = cycle_copy.output / "distilled"
    kept = json.loads((root / "test_scores.json").read_text())
    assert (kept["part"], kept["images"]) == ("test", 4)
    assert kept["miou"] == score.miou
    assert kept["iou"] == score.iou
    assert kept["teacher_miou"] == score.teacher_miou
    assert set(kept["teacher_iou"]) == {"background", "person"}
    assert 0 <= kept["agreement"] <= 1
    assert "distilled on 4 test images" in said
    row = next(line for line in said.splitlines() if "mIoU" in line)
    assert f"{score.miou:.4f}" in row
    assert f"{score.teacher_miou:.4f}" in row


def test_nothing_is_trained_and_nothing_else_written(cycle_copy: Any) -> None:
    root = cycle_copy.output / "plain"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    overheard(score_run, cycle_copy.plain())
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {root / "test_scores.json"}
    changed = {path.name for path, content in before.items() if after[path] != content}
    assert changed == {"report.html"}  # which shows the new scores
    assert "test_scores.json" in after[root / "report.html"].decode()


def test_a_run_without_a_teacher_is_scored_alone(cycle_copy: Any) -> None:
    score, said = overheard(score_run, cycle_copy.plain())
    assert (score.teacher_miou, score.agreement) == (None, None)
    assert "teacher" not in said


def test_a_teacher_that_is_gone_is_not_trained_again(cycle_copy: Any) -> None:
    cycle_copy.teacher.rename(cycle_copy.output / "elsewhere")
    score, _ = overheard(score_run, cycle_copy.distilled())
    assert score.teacher_miou is None
    assert not list((cycle_copy.output / "teachers").iterdir())


def test_a_run_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError) as refused:
        score_run(tiny(tmp_path))
    assert str(refused.value) == (
        f"{tmp_path / 'unscheduled'}: has no checkpoints/best.safetensors to score; train it first"
    )


def test_flags_of_the_training_need_not_be_repeated(tmp_path: Path) -> None:
    """Trained on a folder with many flags, scored by its name alone: the folder's images, and its own teacher."""
    root = write_data_folder(tmp_path / "set", classes=3)
    trained = tiny(tmp_path / "runs", data={"source": str(root)}, training={"epochs": 1, "batch_size": 3})
    overheard(train_experiment, trained)
    bare = with_values(ConfigManager.get_config("unscheduled"), {"output": str(tmp_path / "runs")})
    bare = with_values(bare, {"training": {"device": "cpu"}})
    score, said = overheard(score_run, bare)
    assert "EMBEDDED" not in said
    assert "on 1 val images" in said  # the folder has no test part
    assert list(score.iou) == ["background", "class_1", "class_2"]
    assert score.teacher_miou is not None
    [row] = read_metrics(tmp_path / "runs" / "unscheduled" / "metrics.csv")
    assert score.miou == pytest.approx(row["miou"])


def test_other_images_may_be_asked_for(cycle_copy: Any) -> None:
    _, said = overheard(score_run, cycle_copy.plain(data={"source": "scenes:50"}))
    assert "plain on 5 test images" in said


def test_a_class_that_is_absent_is_said_to_be_absent(tmp_path: Path) -> None:
    score = Score(
        0.5, {"background": 0.5, "person": math.nan}, {}, 0.25, {"background": 0.25, "person": math.nan}, 0.75
    )
    _, said = overheard(print_score, score, "a run")
    row = next(line for line in said.splitlines() if "person" in line)
    assert row.count("absent") == 2
    assert "agree on 75.0 % of the pixels" in said
    write_score(tmp_path / "scores.json", score, "val", 3)
    kept = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    assert kept["iou"] == {"background": 0.5, "person": None}


def test_a_given_teacher_that_is_gone_is_said_and_left_out(cycle_copy: Any) -> None:
    config = cycle_copy.distilled(name="taught", teacher={"source": str(cycle_copy.teacher)}, training={"max_steps": 1})
    overheard(train_experiment, config)
    cycle_copy.teacher.rename(cycle_copy.output / "elsewhere")
    score, said = overheard(score_run, config)
    assert score.teacher_miou is None
    assert "the teacher is not scored beside the student: teacher.source:" in said
    assert "does not exist" in said


def test_unlabelled_images_need_not_be_there_for_a_score(cycle_copy: Any, tmp_path: Path) -> None:
    more = write_data_folder(tmp_path / "more", count=3) / "images"
    config = cycle_copy.distilled(name="joined", data={"unlabelled": str(more)}, training={"max_steps": 1})
    overheard(train_experiment, config)
    more.rename(tmp_path / "gone")
    score, said = overheard(score_run, config)
    assert "unlabelled" not in said
    assert score.teacher_miou is not None
