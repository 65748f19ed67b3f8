"""``evaluate``: the same scores as ``--test-only`` and ``compare`` have, written whole; other images, lone files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_experiments import overheard, write_data_folder

from snowmelt.build import examiner_of, load_network, make_evaluation_batches, make_input, make_network, open_teacher
from snowmelt.data import SubsetSource
from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import Calibration, boundary_scores, class_scores, predict_classes
from snowmelt.jobs import EvaluateRequest, evaluate_run, score_run
from snowmelt.jobs.evaluating import job
from snowmelt.jobs.evaluating.material import check_classes, choose_part
from snowmelt.jobs.evaluating.measuring import measure
from snowmelt.jobs.opening import open_run
from snowmelt.jobs.session import Session, open_session
from snowmelt.models import save_weights
from snowmelt.training import Answer, answer_of, score_images

BY_CLASS = {"iou", "dice", "precision", "recall", "boundary_f"}
OF_BOTH = {*BY_CLASS, "reliability", "confusion", "miou", "mean_dice", "mean_precision", "mean_recall"}
OF_BOTH |= {"mean_boundary_f", "pixel_accuracy", "ece"}


def evaluate(source: Path | str, **options: Any) -> tuple[dict[str, Any], str]:
    content, said = overheard(evaluate_run, EvaluateRequest(source, **{"device": "cpu", **options}))
    return content, said


def refusal(source: Path | str, **options: Any) -> str:
    with pytest.raises(SnowmeltError) as refused:
        evaluate(source, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what is scored and where it is written."""
    monkeypatch.setattr(job, "draw_evaluation", lambda *_: [])


@pytest.fixture(scope="module")
def output(cycle: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of the cycle in a place of their own."""
    return Path(shutil.copytree(cycle.output, tmp_path_factory.mktemp("evaluated") / "runs"))


@pytest.fixture(scope="module")
def distilled(output: Path) -> tuple[dict[str, Any], str]:
    return evaluate(output / "distilled", worst=3)


@pytest.fixture(scope="module")
def asked(output: Path, cycle: Any) -> tuple[Session, Answer, Answer]:
    """Student and teacher of the distilled run, opened by other means."""
    session = open_session(cycle.distilled(), check=False)
    built = load_network(output / "distilled" / "checkpoints" / "best.safetensors", session.config.student, ("a", "b"))
    weights = f"weights:{cycle.teacher / 'checkpoints' / 'best.safetensors'}"
    opened = open_teacher(session.config, weights, session.splits, session.engine, session.say)
    student = answer_of(built.network, make_input(built.normalisation), session.engine)
    return session, student, examiner_of(opened, session.splits.test)  # type: ignore[arg-type]


def test_the_file_has_the_keys_that_are_promised(output: Path, distilled: Any) -> None:
    content, _ = distilled
    path = output / "distilled" / "evaluation" / "test.json"
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == content
    assert (content["format"], content["run"], content["split"], content["images"]) == (1, "distilled", "test", 4)
    assert (content["weights"], content["image_size"]) == ("checkpoints/best.safetensors", 64)
    assert (content["data"], content["notes"], content["boundary_tolerance"]) == (None, [], 0.0075)
    for who in ("student", "teacher"):
        assert set(content[who]) == OF_BOTH
        assert all(list(content[who][key]) == content["classes"] for key in BY_CLASS)
        assert len(content[who]["reliability"]) == 15
    assert set(content["agreement"]) == {"pixels", "miou"}
    assert [set(row) for row in content["by_size"]] == [
        {"group", "low", "high", "regions", "miou", "teacher_miou"} for _ in content["by_size"]
    ]
    assert [row["group"] for row in content["by_brightness"]] == ["dark", "middle", "bright"]
    assert [set(row) for row in content["worst"]] == [{"name", "miou", "teacher_miou", "overlay", "layers"}] * 3


def test_the_scores_are_those_of_test_only_and_of_compare(output: Path, distilled: Any, cycle: Any, asked: Any) -> None:
    content, _ = distilled
    score, _ = overheard(score_run, cycle.distilled(output=str(output)))
    assert content["student"]["miou"] == score.miou
    assert content["student"]["iou"] == score.iou
    assert content["teacher"]["miou"] == score.teacher_miou
    assert content["teacher"]["iou"] == score.teacher_iou
    assert content["agreement"]["pixels"] == score.agreement
    session, student, teacher = asked
    for who, answer in (("student", student), ("teacher", teacher)):
        batches = make_evaluation_batches(session.config, session.splits.test, session.engine)
        matrices = score_images(session.engine, batches, 4, 2, answer)
        assert content[who]["confusion"] == matrices.sum(0).tolist()
        assert content[who]["pixel_accuracy"] == matrices.sum(0).trace() / matrices.sum()


def test_everything_else_computed_image_by_image(distilled: Any, asked: Any) -> None:
    content, _ = distilled
    session, student, teacher = asked
    source = session.splits.test
    boundaries, calibration, between, alone = [], Calibration(), np.zeros((2, 2), int), {}
    for batch in make_evaluation_batches(session.config, source, session.engine):
        with torch.no_grad():
            logits, taught = student(batch), predict_classes(teacher(batch))
        shown = predict_classes(logits)
        boundaries.append(boundary_scores(shown, batch.masks, 2, 255))
        calibration.add(logits, batch.masks, 255)
        for row, index in enumerate(batch.indices.tolist()):
            valid = batch.masks[row] != 255
            for one, other in zip(taught[row][valid].tolist(), shown[row][valid].tolist(), strict=True):
                between[one, other] += 1
            matrix = np.zeros((2, 2), int)
            np.add.at(matrix, (batch.masks[row][valid].numpy(), shown[row][valid].numpy()), 1)
            alone[source.name(index)] = class_scores(matrix).miou
    expected = torch.cat(boundaries).nanmean(0).tolist()
    assert list(content["student"]["boundary_f"].values()) == pytest.approx(expected, nan_ok=True)
    assert content["student"]["ece"] == pytest.approx(calibration.error())
    assert content["agreement"]["pixels"] == between.trace() / between.sum()
    assert content["agreement"]["miou"] == pytest.approx(class_scores(between).miou)
    worst = sorted(alone, key=lambda name: alone[name])[:3]
    assert [(row["name"], row["miou"]) for row in content["worst"]] == [(name, alone[name]) for name in worst]


def test_one_pass_whatever_the_batches(asked: Any) -> None:
    """Seen in another order and in other batches, in one pass in which each is asked once about each image."""
    session, student, teacher = asked
    source = session.splits.test
    seen: list[int] = []

    def counted(batch: Any) -> Any:
        seen.extend(batch.indices.tolist())
        return student(batch)

    def run(batches: Any) -> Any:
        options: dict[str, Any] = {"student": counted, "teacher": teacher, "tolerance": 0.01}
        return measure(session.engine, batches, 4, 2, progress=lambda *_: None, **options)

    [whole] = list(make_evaluation_batches(session.config, source, session.engine))
    first = run([whole])
    assert seen == [0, 1, 2, 3]
    second = run([whole[3:4], whole[0:2], whole[2:3]])
    for one, other in ((first.student, second.student), (first.teacher, second.teacher)):
        assert np.abs(one.matrix - other.matrix).sum() <= 8  # a convolution of other batches rounds differently
        torch.testing.assert_close(one.boundaries.totals, other.boundaries.totals, atol=0.05, rtol=0)
    np.testing.assert_array_equal(first.brightness, second.brightness)
    np.testing.assert_array_equal(first.student.counts.truth, second.student.counts.truth)


def test_pictures_of_the_worst_and_nothing_left_over(output: Path, distilled: Any) -> None:
    content, said = distilled
    folder = output / "distilled" / "evaluation"
    for row in content["worst"]:
        assert (folder / row["overlay"]).is_file()
        with Image.open(folder / row["overlay"]) as picture:
            assert picture.width > 5 * 200  # image, truth, teacher, student, errors
        assert list(row["layers"]) == ["image", "truth", "teacher", "student", "errors"]
        assert all((folder / file).is_file() for file in row["layers"].values())
    assert len(list((folder / "test" / "layers").iterdir())) == 5 * len(content["worst"])
    page = (output / "distilled" / "report.html").read_text()
    assert page.count('id="worst-') == len(content["worst"])
    plots = {"iou_by_class.png", "confusion.png", "confusion_teacher.png", "reliability.png", "groups.png"}
    pictures = {Path(row["overlay"]).name for row in content["worst"]}
    assert {path.name for path in (folder / "test").iterdir()} == plots | pictures | {"layers"}
    assert {path.name for path in folder.iterdir()} == {"test", "test.json"}
    assert "distilled on 4 test images" in said
    assert content["worst"][0]["name"] in said
    assert "test.json has all of it" in " ".join(said.split())


def test_a_run_alone_again_with_fewer_pictures_and_the_last_weights(output: Path) -> None:
    root = output / "plain"
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file() and path.suffix != ".html"}
    content, said = evaluate(root, split="val", worst=2)
    assert (content["teacher"], content["agreement"], content["split"]) == (None, None, "val")
    assert "teacher" not in said
    assert "the best weights were chosen on these images" in content["notes"][0]
    assert len(list((root / "evaluation" / "val").glob("worst-*"))) == 2
    assert evaluate(root, split="val", worst=0)[0]["worst"] == []
    assert not list((root / "evaluation" / "val").glob("worst-*"))
    assert not (root / "evaluation" / "val" / "layers").exists()
    last, _ = evaluate(root, split="train", weights="last", worst=0)
    assert last["weights"] == "checkpoints/last.safetensors"
    assert "trained on" in last["notes"][0]
    assert {path.name for path in (root / "evaluation").glob("*.json")} == {"val.json", "train-last.json"}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert "evaluation/val.json" in (root / "report.html").read_text()  # the page has the new scores
    new = {path for path in output.rglob("*") if path.is_file() and path.suffix != ".html"} - before.keys()
    assert all(path.is_relative_to(root / "evaluation") for path in new)


@pytest.mark.usefixtures("without_plots")
def test_other_images_do_not_take_the_place_of_the_runs_own(output: Path, tmp_path: Path) -> None:
    data = write_data_folder(tmp_path / "more", count=3)
    content, said = evaluate(output / "distilled", data=str(data), worst=1)
    assert (content["split"], content["images"], content["data"]) == ("all", 3, str(data))
    assert content["teacher"] is not None
    assert "not the run's own data" in " ".join(said.split())
    names = [path.name for path in (output / "distilled" / "evaluation").glob("*-all.json")]
    assert len(names) == 1
    assert "more" in names[0]
    own, _ = evaluate(output / "distilled", data="scenes:4", worst=0, output=tmp_path / "own")
    assert (own["data"], own["split"]) == (None, "test")
    assert "is not split, so it has no test part" in refusal(output / "distilled", data=str(data), split="test")


@pytest.mark.usefixtures("without_plots")
def test_folders_of_other_images_may_have_other_names(output: Path, tmp_path: Path) -> None:
    """Those of the run where they are there, else what the folder shows, else what is said."""
    data = write_data_folder(tmp_path / "more", count=3)
    where = {"data": str(data), "worst": 0, "output": tmp_path / "out"}
    usual, _ = evaluate(output / "plain", **where)
    (data / "masks").rename(data / "people")
    found, _ = evaluate(output / "plain", **where)
    shutil.copytree(data / "people", data / "others")
    unclear = refusal(output / "plain", **where)
    assert "has no folders images/ and masks/" in unclear
    assert "--set data.mask_folder=NAME" in unclear
    said, _ = evaluate(output / "plain", **where, overrides=("data.mask_folder=others",))
    assert usual["student"] == found["student"] == said["student"]
    assert "no such folder for the masks" in refusal(output / "plain", **where, overrides=("data.mask_folder=lost",))
    assert "takes data.image_folder" in refusal(output / "plain", **where, overrides=("data.image_size=64",))
    assert "give --data, too" in refusal(output / "plain", overrides=("data.mask_folder=others",))


def test_a_lone_file_needs_images_and_says_the_same(
    output: Path, distilled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lone = shutil.copy(output / "distilled" / "checkpoints" / "best.safetensors", "taken.safetensors")
    assert refusal(lone) == "taken.safetensors: lies in no run, so its images are not known; give --data SPEC"
    content, _ = evaluate(lone, data="scenes:4", worst=1)
    assert (content["run"], content["weights"], content["data"]) == ("taken", "taken.safetensors", "scenes:4")
    assert content["student"] == distilled[0]["student"]
    folder = tmp_path / "taken-evaluation"
    assert (folder / "scenes_4-test.json").is_file()
    assert (folder / content["worst"][0]["overlay"]).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"taken.safetensors", "taken-evaluation"}


def test_many_classes_of_which_some_are_absent(tmp_path: Path, cycle: Any) -> None:
    """A lone network of five classes on images of three of them, one all ignored: absent is null, not 0."""
    names = ["background", "a", "b", "c", "d"]
    built = make_network(cycle.plain().student, 5, seed=0, with_weights=False)
    torch.nn.init.constant_(built.network.segmentation_head[0].bias[4], -100.0)  # type: ignore[index]
    lone = tmp_path / "five.safetensors"
    save_weights(lone, built.network, {"network": dict(built.description), "classes": names, "image_size": 64})
    data = write_data_folder(tmp_path / "set", count=4, classes=3, size=48)
    (data / "classes.txt").write_text("\n".join(names))
    first = sorted((data / "masks").iterdir())[0]
    Image.fromarray(np.full((48, 48), 255, np.uint8)).save(first)
    content, said = evaluate(lone, data=str(data), output=tmp_path / "out")
    assert content["images"] == 4
    assert len(content["worst"]) == 3  # the ignored one has no score
    matrix = np.array(content["student"]["confusion"])
    assert matrix[3:].sum() == 0
    assert matrix.sum() == 3 * 64 * 64
    for index, name in enumerate(names):
        absent = matrix[index].sum() + matrix[:, index].sum() == 0
        assert (content["student"]["iou"][name] is None) == absent
        assert (content["student"]["recall"][name] is None) == (matrix[index].sum() == 0)
    assert sum(row["images"] for row in content["by_brightness"]) == 3
    kept = next((tmp_path / "out").glob("*.json")).read_text()
    assert json.loads(kept, parse_constant=pytest.fail) == content
    assert "absent" in said


@pytest.mark.usefixtures("without_plots")
def test_json_is_all_there_is_on_standard_output(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    content = evaluate_run(EvaluateRequest(output / "plain", worst=0, device="cpu"), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == content
    assert "EMBEDDED" in captured.err


def test_the_teacher_may_have_gone(cycle_copy: Any) -> None:
    cycle_copy.teacher.rename(cycle_copy.output / "elsewhere")
    content, _ = evaluate(cycle_copy.output / "distilled", worst=1)
    assert content["teacher"] is None
    assert content["worst"][0]["teacher_miou"] is None


def test_a_folder_that_cannot_be_written_is_told(output: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "give another folder with --output" in refusal(output / "plain", output=tmp_path / "file", worst=0)


def test_a_part_that_is_not_there(cycle: Any, tmp_path: Path) -> None:
    session = open_session(cycle.plain(), check=False)
    splits = replace(session.splits, test=None)
    assert choose_part(splits, None)[0] == "val"
    with pytest.raises(SnowmeltError, match="no test part; give --split val"):
        choose_part(splits, "test")
    source = SubsetSource(session.splits.val, [0])
    source.classes = ("background", "a", "b")
    with pytest.raises(SnowmeltError, match="its classes are background, person, but"):
        check_classes(open_run(cycle.output / "plain"), source)
