"""``train``: what it leaves, what it says, what it refuses, and that nothing is lost."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from tiny_experiments import BLOCKS, overheard, tiny, write_data_folder

from snowmelt.build import identity_of
from snowmelt.config import with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import train_experiment
from snowmelt.jobs import training as train_job
from snowmelt.jobs.records import write_record
from snowmelt.reporting import RunFolder, read_metrics


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def refusal(config: Any, **options: Any) -> str:
    with pytest.raises(SnowmeltError) as refused:
        train_experiment(config, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_run_leaves_the_folder_that_was_promised(cycle: Any) -> None:
    root = cycle.output / "distilled"
    single = ("config.yaml", "plan.csv", "metrics.csv", "timing.csv", "summary.json")
    weights = ("best.safetensors", "last.safetensors", "last.ckpt")
    for name in (*single, *(f"checkpoints/{name}" for name in weights)):
        assert (root / name).is_file(), name
    for pattern in ("logs/events.out.tfevents.*", "logs/training_log_*.txt", "plots/*.png", "predictions/*.png"):
        assert list(root.glob(pattern)), pattern
    assert not [path for path in root.rglob("*") if ".tmp" in path.name]


def test_the_settings_beside_a_run_are_resolved_and_can_be_given_back(cycle: Any) -> None:
    path = cycle.output / "distilled" / "config.yaml"
    settings = yaml.safe_load(path.read_text())
    assert settings["data"]["image_size"] == 64
    assert settings["teacher"]["epochs"] == 2
    assert settings["training"]["device"] == "cpu"
    assert {"snowmelt", "torch"} <= set(settings["provenance"]["versions"])
    again = ConfigManager.get_config(str(path))
    assert again.name == "distilled"
    assert identity_of(again) == identity_of(with_values(again, {"name": "other"}))
    record, said = overheard(train_experiment, again, resume=True)  # so it is the same run
    assert "this run is finished" in said
    assert record["reason"] == "complete"


def test_the_run_did_what_its_plan_said(cycle: Any) -> None:
    root = cycle.output / "distilled"
    plan, metrics = read_metrics(root / "plan.csv"), read_metrics(root / "metrics.csv")
    assert [{key: row[key] for key in plan[0]} for row in metrics] == plan
    assert [row["thawed_blocks"] for row in plan] == [0, 1]
    assert [row["temperature"] for row in plan] == [2.0, 1.0]
    assert len([key for key in plan[0] if key.startswith("lr/")]) == 1 + BLOCKS


def test_embedded_data_are_announced_in_one_line_that_nobody_misses(cycle: Any) -> None:
    for said in (cycle.said_of_plain, cycle.said_of_distilled):
        [line] = [line for line in said.splitlines() if "EMBEDDED DATA" in line]
        assert line == (
            ">>> EMBEDDED DATA: 4 training and 4 validation images of generated scenes, not yours. "
            "They prove the machinery; give --data DIR for your own. <<<"
        )
        assert said.startswith(line)


def test_the_teacher_is_trained_first_and_it_is_said(cycle: Any) -> None:
    lines = cycle.said_of_distilled.splitlines()
    [first] = [index for index, line in enumerate(lines) if "so it is trained first on the same data" in line]
    assert str(cycle.teacher) in lines[first]
    assert "for at most 2 epochs" in lines[first]
    [student] = [index for index, line in enumerate(lines) if line.startswith("Training distilled:")]
    [teacher] = [index for index, line in enumerate(lines) if line.startswith(f"Training {cycle.teacher.name}:")]
    assert first < teacher < student
    assert "Training plain:" in cycle.said_of_plain
    assert "teacher" not in cycle.said_of_plain


def test_the_outcome_is_kept_for_whoever_asks_later(cycle: Any) -> None:
    record = json.loads((cycle.output / "distilled" / "summary.json").read_text())
    metrics = read_metrics(cycle.output / "distilled" / "metrics.csv")
    assert record["best_miou"] == max(row["miou"] for row in metrics)
    assert (record["reason"], record["step"], record["distills"]) == ("complete", 4, True)
    assert record["classes"] == ["background", "person"]
    plain = json.loads((cycle.output / "plain" / "summary.json").read_text())
    assert (plain["distills"], plain["teacher"]) == (False, None)
    assert plain["data"] == record["data"]


def test_an_existing_run_is_refused_before_data_are_read(cycle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_job, "open_session", lambda config: pytest.fail("data were read"))
    root = cycle.output / "plain"
    assert refusal(cycle.plain()) == (
        f"{root}: a run is there already; go on with --resume, move it aside with --overwrite, "
        "or choose another name with --run-name"
    )


def test_contradictory_flags_are_refused_before_a_teacher_is_trained(tmp_path: Path) -> None:
    text = refusal(tiny(tmp_path), resume=True, overwrite=True)
    assert text == "--resume and --overwrite exclude each other; give one of them"
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("draws_nothing")
def test_overwriting_moves_the_old_run_aside(cycle_copy: Any) -> None:
    old = files(cycle_copy.output / "plain")
    record, _ = overheard(train_experiment, cycle_copy.plain(training={"max_steps": 1}), overwrite=True)
    [aside] = cycle_copy.output.glob("plain.old-*")
    assert files(aside) == old
    assert record["step"] == 1
    assert len(read_metrics(cycle_copy.output / "plain" / "metrics.csv")) == 1


def test_a_finished_run_that_is_resumed_says_so_and_is_left_alone(cycle_copy: Any) -> None:
    root = cycle_copy.output / "plain"
    before = files(root)
    record, said = overheard(train_experiment, cycle_copy.plain(), resume=True)
    score = re.search(rf"{re.escape(str(root))}: this run is finished \(best mIoU (.+)\); nothing left to do", said)
    assert score is not None
    assert re.fullmatch(r"0\.\d{4}", score[1])
    assert float(score[1]) == pytest.approx(record["best_miou"], abs=5e-5)
    assert files(root) == before
    write_record(RunFolder(root), {**record, "best_miou": math.nan})
    _, said = overheard(train_experiment, cycle_copy.plain(), resume=True)
    assert f"{root}: this run is finished (best mIoU unknown); nothing left to do" in said


@pytest.mark.parametrize(
    ("values", "difference"),
    [
        ({"optimizer": {"lr": 0.5}}, "optimizer.lr was 0.001 and is now 0.5"),
        ({"training": {"epochs": 3}}, "training.epochs was 2 and is now 3"),
        ({"seed": 3}, "seed was 0 and is now 3"),
        ({"data": {"source": "scenes:5"}}, "data.source was 'scenes:4' and is now 'scenes:5'"),
        ({"task": {"dice_weight": 0.0}, "seed": 3}, "seed was 0 and is now 3; task.dice_weight was 1.0 and is now 0.0"),
    ],
)
def test_other_settings_cannot_resume_and_each_is_named(cycle: Any, values: dict[str, Any], difference: str) -> None:
    assert refusal(cycle.plain(**values), resume=True) == (
        f"{cycle.output / 'plain'}: cannot resume with other settings: {difference}; "
        "give the same settings, or start anew with --overwrite or --run-name"
    )


def test_no_teacher_is_trained_for_a_run_that_cannot_go_on(cycle_copy: Any) -> None:
    teachers = sorted((cycle_copy.output / "teachers").iterdir())
    text = refusal(cycle_copy.distilled(optimizer={"lr": 0.5}), resume=True)
    assert "optimizer.lr was 0.0003 and is now 0.5" in text
    assert sorted((cycle_copy.output / "teachers").iterdir()) == teachers


@pytest.mark.usefixtures("draws_nothing")
def test_a_run_that_is_resumed_where_none_is_begins(tmp_path: Path) -> None:
    record, _ = overheard(train_experiment, tiny(tmp_path, "plain", training={"max_steps": 1}), resume=True)
    assert record["step"] == 1


@pytest.mark.usefixtures("draws_nothing")
def test_max_steps_counts_over_the_run_and_a_partial_epoch_is_whole_work(cycle: Any, tmp_path: Path) -> None:
    """Three of four steps: the second epoch is half done, but scored, logged and saved; then the run goes on."""
    root = tmp_path / "plain"
    cut = tiny(tmp_path, "plain", training={"max_steps": 3})
    record, said = overheard(train_experiment, cut)
    assert (record["step"], record["reason"]) == (3, "max_steps")
    assert "stopped after 3 steps, as --max-steps asked" in said
    rows = read_metrics(root / "metrics.csv")
    assert [(row["epoch"], row["step"], row["complete"]) for row in rows] == [(0, 2, True), (1, 3, False)]
    assert isinstance(rows[1]["miou"], float)
    assert "epoch=1" in next((root / "logs").glob("training_log_*.txt")).read_text()
    for name in ("best.safetensors", "last.safetensors", "last.ckpt"):
        assert (root / "checkpoints" / name).is_file()
    _, said = overheard(train_experiment, cut, resume=True)
    assert "this run is finished" in said

    record, _ = overheard(train_experiment, tiny(tmp_path, "plain"), resume=True)

    assert (record["step"], record["reason"]) == (4, "complete")
    whole = cycle.output / "plain"
    assert (root / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    best = "checkpoints/best.safetensors"
    assert (root / best).read_bytes() == (whole / best).read_bytes()


@pytest.mark.usefixtures("draws_nothing")
def test_the_teacher_obeys_max_steps_too_and_the_student_is_warned(tmp_path: Path) -> None:
    record, said = overheard(train_experiment, tiny(tmp_path, training={"max_steps": 1}))
    [teacher] = (tmp_path / "teachers").iterdir()
    outcome = json.loads((teacher / "summary.json").read_text())
    assert (outcome["step"], outcome["reason"], record["step"]) == (1, "max_steps", 1)
    warning = f"the teacher's own training was cut by max_steps (mIoU {outcome['best_miou']:.4f}); it may teach little"
    assert said.count(f"warning: {warning}") == 1
    assert said.count(f"  - {warning}") == 1  # and again in the summary
    [log] = (tmp_path / "unscheduled" / "logs").glob("training_log_*.txt")
    assert warning in log.read_text()


@pytest.mark.usefixtures("draws_nothing")
def test_a_folder_is_described_and_not_announced_as_embedded(tmp_path: Path) -> None:
    root = write_data_folder(tmp_path / "set")
    config = tiny(tmp_path / "runs", "plain", data={"source": str(root)}, training={"max_steps": 1})
    record, said = overheard(train_experiment, config)
    assert "EMBEDDED" not in said
    line = said.splitlines()[0]
    assert line.startswith(f"data: 5 chosen from 6 images of {root / 'images'}, classes background, foreground; ")
    assert "validation: 1 of 6 images (fraction 0.1)" in line
    assert line.endswith("5 training and 1 validation images")
    assert record["classes"] == ["background", "foreground"]


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda root: (root / "images" / "003.png").write_bytes(b"\x89PNG no more"), "003.png"),
        (lambda root: (root / "masks" / "002.png").unlink(), "002.png"),
        (lambda root: [path.unlink() for path in (root / "images").iterdir()], "images"),
    ],
    ids=["broken image", "no mask", "no images"],
)
def test_bad_data_are_refused_by_name_before_anything_trains(spoil: Any, named: str, tmp_path: Path) -> None:
    root = write_data_folder(tmp_path / "set")
    spoil(root)
    text = refusal(tiny(tmp_path / "runs", data={"source": str(root)}))
    assert named in text
    made = {path.name for path in (tmp_path / "runs").glob("*")}
    assert made <= {"data-index", "image-store"}  # what is known of the good files is kept, but no run was begun


@pytest.mark.usefixtures("draws_nothing")
def test_auto_says_what_it_chose(tmp_path: Path) -> None:
    config = tiny(tmp_path, "auto", distillation={"enabled": False}, training={"max_steps": 1})
    _, said = overheard(train_experiment, config)
    assert "auto: 4 training images: 2 epochs, whole encoder learns from epoch 0, encoder rate x 0.3" in said
    settings = yaml.safe_load((tmp_path / "auto" / "config.yaml").read_text())
    chosen = {"progressive": False, "start": 20, "every": 10, "lr_scale": 0.3}
    assert settings["thaw"] == {**chosen, "most": None, "norm_eval": False}


def test_pictures_show_the_image_and_not_its_padding(tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "data", count=6)
    for path in data.rglob("*.png"):
        with Image.open(path) as picture:
            picture.crop((0, 0, 32, 64)).save(path)  # half as wide as high: half of the square is padding
    config = tiny(tmp_path / "runs", "plain", data={"source": str(data)}, training={"max_steps": 1})
    overheard(train_experiment, config)
    [panel, *_] = (tmp_path / "runs" / "plain" / "predictions").glob("*.png")
    with Image.open(panel) as picture:
        assert picture.width < 2.5 * picture.height  # image, truth, student and errors, each half as wide as high
