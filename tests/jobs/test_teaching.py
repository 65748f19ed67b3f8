"""The teacher: trained once and used again, given as a folder or a file, doubted where it deserves it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import overheard, tiny, write_data_folder

from snowmelt.build import make_network
from snowmelt.config import NetworkConfig
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import teach_experiment, teaching, train_experiment
from snowmelt.jobs.session import open_session
from snowmelt.jobs.teaching import find_teacher, late_gain, notices_of, run_folder_of
from snowmelt.models import fold_norms, load_weights, save_weights
from snowmelt.reporting import RunFolder

pytestmark = pytest.mark.usefixtures("draws_nothing")


def refusal(config: Any) -> str:
    with pytest.raises(SnowmeltError) as refused:
        overheard(train_experiment, config)
    assert "\n" not in str(refused.value)
    assert not (config.output / config.name).exists()
    return str(refused.value)


def no_training(*arguments: Any, **options: Any) -> None:
    pytest.fail("a teacher was trained")


def test_a_teacher_is_reused_and_it_is_said(cycle: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(teaching, "run_training", no_training)
    before = {path: path.stat().st_mtime_ns for path in cycle.teacher.rglob("*")}
    path, said = overheard(teach_experiment, cycle.distilled())
    assert path == cycle.teacher / "checkpoints" / "best.safetensors"
    best = json.loads((cycle.teacher / "summary.json").read_text())["best_miou"]
    assert f"teacher: {cycle.teacher} is reused (best mIoU {best:.4f})" in said
    assert {path: path.stat().st_mtime_ns for path in cycle.teacher.rglob("*")} == before


@pytest.mark.parametrize("setting", ["dist_inter_weight", "logit_standardisation"])
def test_no_teacher_is_trained_for_a_loss_that_two_classes_cannot_have(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "run_training", no_training)
    config = tiny(tmp_path, "fine_tuning", distillation={setting: 1})
    assert "needs at least 3" in refusal(config)


def test_no_teacher_is_trained_for_a_student_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "run_training", no_training)
    config = tiny(tmp_path, "fine_tuning", student={"weights": str(tmp_path / "no.pth")})
    assert refusal(config) == f"there is no weight file {tmp_path / 'no.pth'}"


def test_a_second_student_takes_the_same_teacher(cycle_copy: Any) -> None:
    config = cycle_copy.distilled(name="second", temperature={"initial": 9.0}, training={"max_steps": 1})
    record, said = overheard(train_experiment, config)
    assert f"teacher: {cycle_copy.teacher} is reused" in said  # which is still the only one
    assert (record["distills"], record["teacher"]) == (True, "auto")


def test_a_teacher_of_other_settings_is_trained_beside_the_first(cycle_copy: Any) -> None:
    config = cycle_copy.distilled(teacher={"epochs": 1}, training={"max_steps": 1})
    first = cycle_copy.teacher
    path, said = overheard(teach_experiment, config)
    assert "so it is trained first" in said
    assert path.is_file()
    assert path.parent.parent != first


def test_a_teacher_that_was_cut_goes_on(tmp_path: Path) -> None:
    _, said = overheard(teach_experiment, tiny(tmp_path, training={"max_steps": 1}))
    assert "so it is trained first" in said
    path, said = overheard(teach_experiment, tiny(tmp_path))
    assert "is not finished, so it is trained further" in said
    assert "Going on with" in said
    assert json.loads((path.parent.parent / "summary.json").read_text())["reason"] == "complete"
    assert len(list((tmp_path / "teachers").iterdir())) == 1


def statistics_of_a_teacher(folder: Path, **teacher: Any) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Running means and variances of the encoder and of the rest, after a training to its end."""
    path, _ = overheard(teach_experiment, tiny(folder, teacher=teacher))
    state = load_weights(path)[0]
    running = [(name, value) for name, value in state.items() if "running_" in name]
    ours = [[value for name, value in running if name.startswith("encoder.") == inside] for inside in (True, False)]
    return ours[0], ours[1]


@pytest.mark.parametrize("norm_eval", [True, False])
def test_the_norms_of_a_teacher_rest_where_they_should(norm_eval: bool, tmp_path: Path) -> None:
    short = statistics_of_a_teacher(tmp_path / "short", norm_eval=norm_eval, epochs=1)
    longer = statistics_of_a_teacher(tmp_path / "longer", norm_eval=norm_eval, epochs=3)
    encoder, rest = (all(map(torch.equal, *both)) for both in zip(short, longer, strict=True))
    assert short[0]
    assert short[1]
    assert encoder == norm_eval
    assert not rest


def test_a_teacher_ends_at_its_plateau(tmp_path: Path) -> None:
    """A rate that moves nothing: the first score stays the best, and patience runs out."""
    config = tiny(tmp_path, teacher={"epochs": 50, "patience": 2}, optimizer={"lr": 1e-12, "weight_decay": 0})
    path, _ = overheard(teach_experiment, config)
    record = json.loads((path.parent.parent / "summary.json").read_text())
    assert record["reason"] == "plateau"
    assert record["step"] == 2 * (record["best_epoch"] + 3)
    assert record["step"] < 50
    _, said = overheard(teach_experiment, config)
    assert "is reused" in said


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"distillation": {"enabled": False}}, "unscheduled has no teacher to train"),
        ({"teacher": {"source": "none"}}, "unscheduled has no teacher to train"),
        ({"teacher": {"source": "runs/x"}}, "teacher.source is 'runs/x', so there is nothing to train"),
    ],
)
def test_where_there_is_nothing_to_teach_it_is_said(values: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError) as refused:
        teach_experiment(tiny(tmp_path, **values))
    assert str(refused.value).startswith(reason)


def as_it_teaches(path: Path, settings: NetworkConfig) -> dict[str, torch.Tensor]:
    """The tensors of a weights file with norms folded, as a teacher has them."""
    network = make_network(settings, 1, seed=0).network
    network.load_state_dict(load_weights(path)[0])
    return fold_norms(network).state_dict()


@pytest.mark.parametrize("kind", ["run folder", "weights file", "file elsewhere"])
def test_a_teacher_may_be_given(kind: str, cycle: Any, tmp_path: Path) -> None:
    best = cycle.teacher / "checkpoints" / "best.safetensors"
    source = {"run folder": cycle.teacher, "weights file": best, "file elsewhere": tmp_path / "mine.safetensors"}[kind]
    if not source.exists():
        shutil.copy(best, source)
    # The file says itself which network it is; the settings' encoder is not asked.
    given = {"source": str(source), "network": {"encoder": "resnet18"}}
    session, _ = overheard(open_session, tiny(tmp_path, teacher=given))
    found, said = overheard(find_teacher, session)
    path = best if kind == "run folder" else source
    assert f"teacher: unet with tu-mobilenetv3_small_050 ({path})" in said
    known = None if kind == "file elsewhere" else json.loads((cycle.teacher / "summary.json").read_text())["best_miou"]
    assert found.miou == known
    state = as_it_teaches(best, tiny(tmp_path).teacher.network)
    assert all(torch.equal(value, state[key]) for key, value in found.teacher.network.state_dict().items())


def test_a_student_may_become_a_teacher(cycle_copy: Any) -> None:
    source = str(cycle_copy.output / "plain")
    config = cycle_copy.distilled(name="pupil", teacher={"source": source}, training={"max_steps": 1})
    record, _ = overheard(train_experiment, config)
    assert record["teacher"] == source


def test_a_teacher_that_is_not_there_is_refused(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    text = refusal(tiny(tmp_path / "runs", teacher={"source": missing}))
    assert text.startswith(f"teacher.source: {missing} does not exist; give auto, none, a run folder, a weights file (")
    (tmp_path / "empty").mkdir()
    text = refusal(tiny(tmp_path / "runs", teacher={"source": str(tmp_path / "empty")}))
    assert text.startswith(f"teacher.source: {tmp_path / 'empty'}: holds no checkpoints/best.safetensors")


def test_a_teacher_that_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_bytes(b"buy milk")
    assert str(path) in refusal(tiny(tmp_path / "runs", teacher={"source": str(path)}))


def test_a_teacher_of_other_classes_is_refused(cycle: Any, tmp_path: Path) -> None:
    given = {"source": str(cycle.teacher)}
    text = refusal(tiny(tmp_path / "runs", teacher=given, data={"source": "scenes-parts:4"}))
    assert text == (
        "the teacher has 2 classes (background, person), but the data has 6 (background, skin, hair, upper, lower, "
        "shoes); say which is which (null drops a class): teacher.class_map: {background: background, person: null}"
    )


def test_a_teacher_without_description_is_known_by_its_tensors(cycle: Any, tmp_path: Path) -> None:
    """The settings' teacher has wider decoder layers than the file, as a named experiment's may well have."""
    path = tmp_path / "bare.safetensors"
    config = tiny(tmp_path / "runs", teacher={"source": str(path)})
    save_weights(path, make_network(config.student, 1, seed=0).network, {})
    session, _ = overheard(open_session, config)
    found, said = overheard(find_teacher, session)
    assert f"teacher: unet with tu-mobilenetv3_small_050 ({path})" in said
    assert found.miou is None
    state = as_it_teaches(path, config.student)
    assert all(torch.equal(value, state[key]) for key, value in found.teacher.network.state_dict().items())


def test_a_run_is_known_by_its_folder_and_by_its_weights(cycle: Any, tmp_path: Path) -> None:
    best = cycle.teacher / "checkpoints" / "best.safetensors"
    assert run_folder_of(str(cycle.teacher)) == run_folder_of(str(best)) == cycle.teacher
    elsewhere = shutil.copy(best, tmp_path / "weights.safetensors")
    assert run_folder_of(str(elsewhere)) is None


def write_metrics(root: Path, scores: list[float]) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    RunFolder(root).metrics_file.write_text(
        "epoch,miou\n" + "".join(f"{i},{score}\n" for i, score in enumerate(scores))
    )
    return root


@pytest.mark.parametrize(
    ("scores", "gain"),
    [
        ([], None),
        ([0.1, 0.2, 0.3], None),
        ([0.1, 0.2, 0.3, 0.5], 0.2),
        ([0.1, 0.5, 0.3, 0.4], 0.0),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7], 0.1),
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.6, 0.6], 0.0),
    ],
)
def test_the_gain_of_the_last_quarter(scores: list[float], gain: float | None, tmp_path: Path) -> None:
    assert late_gain(RunFolder(write_metrics(tmp_path, scores))) == (None if gain is None else pytest.approx(gain))


@pytest.mark.parametrize(
    ("record", "scores", "doubt"),
    [
        (None, [0.1, 0.2, 0.3, 0.5], None),
        ({"reason": "complete"}, [0.1, 0.5, 0.5, 0.5], None),
        ({"reason": "plateau"}, [0.1, 0.2, 0.3, 0.5], None),
        ({"reason": "complete"}, [0.1, 0.2, 0.3, 0.5], "still improving when its training ended (+0.200 mIoU"),
        ({"reason": "max_steps", "best_miou": 0.25}, [0.1], "cut by max_steps (mIoU 0.2500); it may teach little"),
        ({"reason": "max_steps", "best_miou": None}, [0.1], "cut by max_steps (mIoU unknown)"),
    ],
)
def test_a_hasty_teacher_is_doubted(record: Any, scores: list[float], doubt: str | None, tmp_path: Path) -> None:
    notices = notices_of(write_metrics(tmp_path, scores), record)
    assert len(notices) == (0 if doubt is None else 1)
    assert doubt is None or doubt in notices[0]


def set_score(root: Path, miou: float) -> None:
    path = root / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "best_miou": miou}))


@pytest.mark.parametrize(("teacher", "plain", "warned"), [(0.5, 0.6, True), (0.6, 0.6, True), (0.61, 0.6, False)])
def test_a_teacher_no_better_than_the_plain_student_is_warned_of(
    teacher: float, plain: float, warned: bool, cycle_copy: Any
) -> None:
    set_score(cycle_copy.teacher, teacher)
    set_score(cycle_copy.output / "plain", plain)
    _, said = overheard(train_experiment, cycle_copy.distilled(name="second", training={"max_steps": 1}))
    text = (
        f"the teacher (mIoU {teacher:.4f}) is not better than the plain student in {cycle_copy.output / 'plain'} "
        f"({plain:.4f}): distillation can hurt here"
    )
    assert (f"warning: {text}" in said) == warned
    assert (f"  - {text}" in said) == warned
    [log] = (cycle_copy.output / "second" / "logs").glob("training_log_*.txt")
    assert (text in log.read_text()) == warned


def test_a_plain_student_of_other_data_is_no_measure(cycle_copy: Any, tmp_path: Path) -> None:
    set_score(cycle_copy.output / "plain", 0.99)
    given = {"source": str(cycle_copy.teacher)}
    data = {"source": str(write_data_folder(tmp_path / "set"))}
    config = cycle_copy.distilled(name="second", teacher=given, data=data, training={"max_steps": 1})
    _, said = overheard(train_experiment, config)
    assert "not better than the plain student" not in said


def test_a_score_on_other_images_is_no_score_here(cycle: Any, tmp_path: Path) -> None:
    given = {"source": str(cycle.teacher)}
    for data, known in (({}, True), ({"image_size": 96}, False), ({"source": "scenes:8"}, False)):
        session, _ = overheard(open_session, tiny(tmp_path, teacher=given, data=data))
        found, _ = overheard(find_teacher, session)
        assert (found.miou is not None) == known
