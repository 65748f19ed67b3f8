"""``snowmelt export`` on a tiny run: what is written, what is refused, and that nothing half is left."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
import pytest
import torch
import yaml
from tiny_experiments import overheard, tiny, undrawn

import snowmelt.jobs.exporting.job as job
from snowmelt.errors import SnowmeltError
from snowmelt.export import MOST_DROP, quantise, read_facts
from snowmelt.jobs import ExportRequest, export_run, read_size, train_experiment
from snowmelt.jobs.exporting import quantising
from snowmelt.jobs.exporting.quantising import CALIBRATION_IMAGES, calibration_source, open_data_of
from snowmelt.jobs.opening import open_run
from snowmelt.reporting import replace_file

ENCODER = "tu-test_efficientnet"  # exported in a few seconds


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student of two classes, trained for an epoch. Look, do not touch."""
    output = tmp_path_factory.mktemp("exported")
    with undrawn():
        overheard(train_experiment, tiny(output, "plain", student={"encoder": ENCODER}, training={"epochs": 1}))
    return output / "plain"


@pytest.fixture(scope="module")
def published(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The folder that has everything, the outcome, and what was said."""
    folder = tmp_path_factory.mktemp("published") / "model"
    request = ExportRequest(str(run), int8=True, size=(64, 64), output=folder, card=True, force=True)
    outcome, said = overheard(export_run, request)
    return folder, outcome, said


def files_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_folder_has_weights_card_and_both_graphs(published: tuple[Path, dict[str, Any], str], run: Path) -> None:
    folder, outcome, said = published
    names = ["README.md", "config.json", "model-int8.onnx", "model.onnx", "model.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert outcome["files"] == names
    assert outcome["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert outcome["source"] == str(run / "checkpoints" / "best.safetensors")
    assert "compared with PyTorch at 2 shapes, simplified" in said
    assert f"wrote {folder}" in said
    for name in ("model.onnx", "model-int8.onnx"):
        onnx.checker.check_model(onnx.load(folder / name), full_check=True)


def test_the_int8_file_says_what_it_costs(published: tuple[Path, dict[str, Any], str]) -> None:
    folder, outcome, said = published
    facts = read_facts(onnx.load(folder / "model-int8.onnx"))
    assert facts is not None
    assert outcome["metadata"] == facts
    assert (facts["task"], facts["classes"], facts["size"]) == ("binary", ["background", "person"], [64, 64])
    assert facts["source_run"] == "plain"
    told = facts["quantisation"]
    assert (told["calibration_images"], told["validation_images"]) == (4, 4)
    assert 0 <= told["miou_float"] <= 1
    assert "int8, ranges from 4 training images: mIoU" in said
    plain = read_facts(onnx.load(folder / "model.onnx"))
    assert plain is not None
    assert plain["quantisation"] is None
    assert plain["weights_digest"] == facts["weights_digest"] != ""


def test_its_float_score_is_the_runs(published: tuple[Path, dict[str, Any], str], run: Path) -> None:
    record = json.loads((run / "summary.json").read_text())
    told = published[1]["metadata"]["quantisation"]
    assert told["miou_float"] == pytest.approx(record["best_miou"], abs=2e-3)


def test_the_card_tells_of_the_run(published: tuple[Path, dict[str, Any], str]) -> None:
    text = (published[0] / "README.md").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["model-index"][0]["name"] == "plain"
    assert "trained without a teacher" in text
    assert "generated scenes" in text
    assert "what learns" in text  # the plan's table
    assert 'InferenceSession("FOLDER/model.onnx")' in text
    assert "model-int8.onnx" in text
    assert str(published[0].parent) not in text


def test_weights_are_opened_again(run: Path, tmp_path: Path, published: tuple[Path, dict[str, Any], str]) -> None:
    path = tmp_path / "new" / "student.safetensors"
    outcome, _ = overheard(export_run, ExportRequest(str(run), format="safetensors", output=path))
    assert outcome["path"] == str(path)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    trained = open_run(run)
    for file in (path, published[0] / "model.safetensors"):
        again = open_run(file)
        assert (again.classes, again.image_size, again.root) == (trained.classes, trained.image_size, None)
        with torch.no_grad():
            assert torch.equal(again.network(images), trained.network(images))


def test_int8_that_costs_too_much_is_refused_and_force_writes_it(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Black pictures teach ranges that cut off whatever real ones hold."""
    monkeypatch.setattr(quantising, "quantise", lambda model, images: quantise(model, (0 * each for each in images)))
    path = tmp_path / "out" / "int8.onnx"
    request = ExportRequest(str(run), int8=True, size=(64, 64), output=path)
    with pytest.raises(
        SnowmeltError, match=r"int8 costs too much: mIoU .* nothing was written; --force writes it"
    ) as no:
        overheard(export_run, request)
    assert no.value.code == "export-accuracy"
    assert not path.parent.exists() or not list(path.parent.iterdir())
    outcome, said = overheard(export_run, replace(request, force=True))
    assert "written because of --force" in said
    told = outcome["metadata"]["quantisation"]
    assert told["miou_float"] - told["miou_int8"] > MOST_DROP
    assert path.exists()


@pytest.mark.parametrize(("int8", "holds"), [(0.751, True), (0.749, False), (0.9, True), (math.nan, False)])
def test_a_point_is_what_int8_may_cost(int8: float, holds: bool) -> None:
    facts, model = cast(Any, None), onnx.ModelProto()
    assert quantising.Quantised(model, facts, 1, 1, 0.76, int8).holds == holds


def test_default_places_and_json(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(run, copied)
    capsys.readouterr()
    outcome = export_run(ExportRequest(str(copied), format="safetensors"), as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == outcome
    assert "wrote" in captured.err
    assert Path(outcome["path"]) == copied / "export" / "copied.safetensors"
    lone = tmp_path / "lone.safetensors"
    shutil.copy(copied / "checkpoints" / "best.safetensors", lone)
    outcome, _ = overheard(export_run, ExportRequest(str(lone), format="safetensors"))
    assert Path(outcome["path"]) == tmp_path / "lone-export.safetensors"
    before = files_of(tmp_path)
    for wrong, message in (
        (ExportRequest(str(lone), int8=True), "a lone file tells no data"),
        (ExportRequest(str(lone), format="safetensors", output=lone), "is the file that is exported"),
        (ExportRequest(str(lone), format="safetensors", output=tmp_path), "is a folder; name a file"),
        (ExportRequest(str(copied), card=True, output=copied), "is no part of an export"),
    ):
        with pytest.raises(SnowmeltError, match=message):
            overheard(export_run, wrong)
    monkeypatch.setattr(
        job, "make_onnx", lambda *_: (_ for _ in ()).throw(SnowmeltError("answers otherwise", code="export-not-equal"))
    )
    with pytest.raises(SnowmeltError, match="answers otherwise"):
        overheard(export_run, ExportRequest(str(copied), card=True))
    assert files_of(tmp_path) == before


def test_a_card_without_a_run_says_so(run: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.safetensors"
    shutil.copy(run / "checkpoints" / "best.safetensors", lone)
    outcome, _ = overheard(export_run, ExportRequest(str(lone), format="safetensors", card=True))
    folder = Path(outcome["path"])
    assert folder.name == "lone-export"
    text = (folder / "README.md").read_text()
    assert "Not scored yet" in text
    assert "exported without their run folder" in text


def test_scores_come_from_the_best_place(run: Path, tmp_path: Path) -> None:
    from snowmelt.jobs.exporting.carding import scores_of

    copied = tmp_path / "run"
    shutil.copytree(run, copied)
    noted = scores_of(copied)
    assert noted is not None
    assert (noted.part, set(noted.iou)) == ("val", {"background", "person"})
    scores = {"miou": 0.5, "iou": {"background": 0.6, "person": 0.4}}
    old = {"part": "test", "images": 4, **scores, "teacher_miou": 0.7, "teacher_iou": scores["iou"], "agreement": 0.9}
    replace_file(copied / "test_scores.json", json.dumps(old))
    found = scores_of(copied)
    assert found is not None
    assert (found.part, found.images, found.miou, found.teacher_miou, found.agreement) == ("test", 4, 0.5, 0.7, 0.9)
    (copied / "evaluation").mkdir()
    new = {"format": 1, "split": "val", "images": 3, "student": {**scores, "miou": 0.25}, "teacher": None}
    replace_file(copied / "evaluation" / "val.json", json.dumps({**new, "agreement": None}))
    found = scores_of(copied)
    assert found is not None
    assert (found.part, found.images, found.miou, found.teacher_iou) == ("val", 3, 0.25, None)


def test_calibration_sees_the_first_of_a_seeded_order(run: Path) -> None:
    session, said = overheard(open_data_of, open_run(run))
    train = session.splits.train
    names = [train.name(index) for index in range(len(train))]
    chosen = [calibration_source(train, seed) for seed in (0, 0, 5)]
    orders = [[source.name(index) for index in range(len(source))] for source in chosen]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(names)[:CALIBRATION_IMAGES]
    assert "EMBEDDED DATA" in said


@pytest.mark.parametrize(
    ("text", "size"), [("dynamic", None), ("64x96", (64, 96)), ("64X96", (64, 96)), ("128", (128, 128))]
)
def test_sizes(text: str, size: tuple[int, int] | None) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "64x", "axb", "64 x 64", "-64", "64x64x3"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(SnowmeltError, match="give HxW in pixels"):
        read_size(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"int8": True}, "--quantize is for ONNX files"),
        ({"size": (64, 64)}, "--size is for ONNX files"),
        ({"bake_normalisation": True}, "--bake-normalisation is for ONNX files"),
    ],
)
def test_options_that_weights_have_no_use_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SnowmeltError, match=message):
        ExportRequest("run", format="safetensors", **options)


def test_int8_is_scored_on_squares() -> None:
    with pytest.raises(SnowmeltError, match="--quantize int8 scores on square pictures"):
        ExportRequest("run", int8=True, size=(64, 96))
