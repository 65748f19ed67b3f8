"""``snowmelt predict`` as a whole, on pictures: what comes out, and that nothing is lost or left half done."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from predicted_runs import NAMES, brightest_channel, files_below, write_picture
from tiny_experiments import overheard

from snowmelt.data import open_folder, read_image
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import PredictRequest, predict_pictures
from snowmelt.jobs.predicting import job


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(brightest_channel(tmp_path_factory.mktemp("exported") / "brightest.onnx"))


def predict(source: str, *inputs: Path, output: Path, **options: Any) -> tuple[dict[str, Any], str]:
    return overheard(predict_pictures, PredictRequest(source, inputs, output, device="cpu", **options))


def test_a_folder_of_all_sorts_of_pictures(exported: str, tmp_path: Path) -> None:
    """Each mask has the picture's own size as it is shown, and the class that is the brightest channel there."""
    sizes = {"a.png": (64, 48), "x/b.png": (33, 150), "x/y/c.bmp": (7, 9), "small.tif": (1, 1)}
    for seed, (name, size) in enumerate(sizes.items()):
        write_picture(tmp_path / "in" / name, *size, seed=seed)
    turned = Image.Exif()
    turned[0x0112] = 6
    write_picture(tmp_path / "in" / "turned.jpg", 40, 60, exif=turned)
    outcome, said = predict(exported, tmp_path / "in", output=tmp_path / "out", tile="off")
    assert outcome["images"] == 5 and outcome["failed"] == []
    assert "5 images in" in said and "images/s" in said
    for path in sorted((tmp_path / "in").rglob("*.*")):
        image = read_image(path)
        mask = np.asarray(
            Image.open(tmp_path / "out" / "masks" / path.relative_to(tmp_path / "in").with_suffix(".png"))
        )
        assert mask.shape == image.shape[:2]
        assert np.array_equal(mask, image.argmax(axis=2))
    assert np.asarray(Image.open(tmp_path / "out" / "masks" / "turned.png")).shape == (60, 40)


@pytest.mark.parametrize(("tile", "agreement"), [("auto", 0.93), (64, 1.0), ("off", 1.0)])
def test_every_way_of_showing_gives_the_picture_back(
    tile: Any, agreement: float, exported: str, tmp_path: Path
) -> None:
    image = write_picture(tmp_path / "a.png", 150, 210)
    options = {"tile": tile, "flip": True, "save": ("mask", "overlay", "probabilities")}
    outcome, _ = predict(exported, tmp_path / "a.png", output=tmp_path / "out", **options)
    mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a.png"))
    assert (mask == image.argmax(axis=2)).mean() >= agreement
    with np.load(tmp_path / "out" / "probabilities" / "a.npz") as kept:
        assert kept["classes"].tolist() == list(NAMES)
        assert kept["probabilities"].shape == (3, 150, 210) and kept["probabilities"].dtype == np.float16
        assert (kept["probabilities"].argmax(axis=0) == mask).mean() > 0.99
    overlay = np.asarray(Image.open(tmp_path / "out" / "overlays" / "a.jpg"))
    assert overlay.shape == image.shape and overlay.std() > 5
    [entry] = outcome["files"]
    shares = [entry["shares"][name] for name in NAMES]
    assert shares == pytest.approx([(mask == index).mean() for index in range(3)], abs=1e-6)


def test_predicted_masks_are_masks_to_train_on(exported: str, tmp_path: Path) -> None:
    images = tmp_path / "data" / "images"
    for seed in range(3):
        write_picture(images / f"{seed}.png", seed=seed)
    write_picture(images / "grey.png", seed=9)
    Image.fromarray(np.full((32, 40, 3), 7, np.uint8)).save(images / "grey.png")  # one class only
    predict(exported, images, output=tmp_path / "data")
    source = open_folder(tmp_path / "data")["train"]
    assert source.classes == NAMES
    assert len(source) == 4
    for index in range(4):
        sample = source.load(index)
        written = np.asarray(Image.open(tmp_path / "data" / "masks" / sample.name))
        assert np.array_equal(sample.mask, written)


def test_a_file_that_cannot_be_read_is_said_skipped_and_counted(exported: str, tmp_path: Path) -> None:
    for seed in range(3):
        write_picture(tmp_path / "in" / f"{seed}.png", seed=seed)
    (tmp_path / "in" / "1b.jpg").write_bytes(b"no picture")
    whole = (tmp_path / "in" / "0.png").read_bytes()
    (tmp_path / "in" / "2b.png").write_bytes(whole[: len(whole) // 2])
    outcome, said = predict(exported, tmp_path / "in", output=tmp_path / "out")
    assert outcome["images"] == 3
    assert [Path(entry["input"]).name for entry in outcome["failed"]] == ["1b.jpg", "2b.png"]
    assert [entry["code"] for entry in outcome["failed"]] == ["image-unreadable", "image-unreadable"]
    assert len([line for line in said.splitlines() if line.startswith("skipped: ")]) == 2
    assert {path for path in files_below(tmp_path / "out") if path.startswith("masks/")} == {
        *("masks/0.png", "masks/1.png", "masks/2.png", "masks/classes.txt")
    }


def test_the_runs_own_validation_images_where_nothing_is_given(cycle, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    outcome, said = predict(str(cycle.output / "plain"), output=tmp_path / "out")
    assert (outcome["images"], outcome["classes"]) == (4, ["background", "person"])
    assert "plain" in said
    assert {Path(path).parts[0] for path in files_below(tmp_path / "out")} == {
        *("prediction.json", "legend.png", "masks", "overlays")
    }
    assert f"the overlays' colours: {tmp_path / 'out' / 'legend.png'}" in said
    alone = tmp_path / "alone.safetensors"
    shutil.copy(cycle.output / "plain" / "checkpoints" / "best.safetensors", alone)
    with pytest.raises(SnowmeltError, match="give pictures, folders or videos"):
        predict(str(alone), output=tmp_path / "other")


def test_going_on_predicts_what_is_missing_and_nothing_else(exported: str, tmp_path: Path) -> None:
    for seed in range(4):
        write_picture(tmp_path / "in" / f"{seed}.png", seed=seed)
    out = tmp_path / "out"
    predict(exported, tmp_path / "in", output=out)
    with pytest.raises(SnowmeltError, match=r"0\.png: is there already, and 7 more"):
        predict(exported, tmp_path / "in", output=out)
    (out / "masks" / "2.png").unlink()
    (out / "masks" / "3.png").write_bytes(b"mine")
    assert json.loads((out / "prediction.json").read_text())["source"] == os.path.realpath(exported)
    outcome, said = predict(os.path.relpath(exported), tmp_path / "in", output=out, resume=True)
    assert (outcome["images"], outcome["skipped"]) == (1, 3)
    assert "3 of 4 are there already" in said
    assert (out / "masks" / "3.png").read_bytes() == b"mine"
    with pytest.raises(SnowmeltError, match="flip was False and is now True"):
        predict(exported, tmp_path / "in", output=out, resume=True, flip=True)
    predict(exported, tmp_path / "in", output=out, overwrite=True, flip=True)
    assert (out / "masks" / "3.png").read_bytes() != b"mine"


def test_stopped_it_leaves_whole_files_only(exported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(9):
        write_picture(tmp_path / "in" / f"{seed}.png", seed=seed)
    load, loaded = job._loaded, 0

    def interrupted(items: Any) -> Any:
        nonlocal loaded
        for entry in load(items):
            loaded += 1
            if loaded > 6:
                raise KeyboardInterrupt
            yield entry

    monkeypatch.setattr(job, "_loaded", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(exported, tmp_path / "in", output=tmp_path / "out", batch_size=2)
    written = files_below(tmp_path / "out")
    assert not [name for name in written if name.endswith(".part")]
    masks = [name for name in written if name.startswith("masks/") and name.endswith(".png")]
    assert 0 < len(masks) < 9
    for name in masks:
        Image.open(tmp_path / "out" / name).load()
    monkeypatch.setattr(job, "_loaded", load)
    outcome, _ = predict(exported, tmp_path / "in", output=tmp_path / "out", resume=True)
    assert len([name for name in files_below(tmp_path / "out" / "masks") if name.endswith(".png")]) == 9
    assert outcome["images"] + outcome["skipped"] == 9


def test_a_file_of_a_fixed_size_takes_pictures_of_any(tmp_path: Path) -> None:
    source = str(brightest_channel(tmp_path / "fixed.onnx", size=(64, 64)))
    image = write_picture(tmp_path / "a.png", 100, 130)
    predict(source, tmp_path / "a.png", output=tmp_path / "whole")
    predict(source, tmp_path / "a.png", output=tmp_path / "tiled", tile=64)
    whole, tiled = (np.asarray(Image.open(tmp_path / name / "masks" / "a.png")) for name in ("whole", "tiled"))
    assert whole.shape == (100, 130)
    assert np.array_equal(tiled, image.argmax(axis=2))
    for tile in (96, "off"):
        with pytest.raises(SnowmeltError, match="takes 64 x 64 pixels only"):
            predict(source, tmp_path / "a.png", output=tmp_path / "other", tile=tile)
    assert not (tmp_path / "other").exists()


def test_json_stands_alone_on_stdout(exported: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    request = PredictRequest(exported, (tmp_path / "a.png", tmp_path / "b.jpg"), tmp_path / "out", device="cpu")
    outcome = predict_pictures(request, as_json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == outcome
    assert "skipped: " in captured.err
    assert outcome["files"][0]["mask"] == str(tmp_path / "out" / "masks" / "a.png")
    assert outcome["classes"] == list(NAMES) and outcome["images_per_second"] > 0
