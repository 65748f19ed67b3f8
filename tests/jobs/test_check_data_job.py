"""``check-data`` from job to files: what is printed, what is written, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_experiments import overheard, write_data_folder

from snowmelt.build import settle
from snowmelt.config import ExperimentConfig
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import check_data, prepare
from snowmelt.jobs.surveying import describe_survey, schedule_for, survey_data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_folder(tmp_path / "data", count=8, classes=3)


def test_it_says_what_is_there_and_that_training_takes_it(folder: Path) -> None:
    sound, said = overheard(check_data, prepare("auto", data=str(folder)))
    assert sound
    assert "schedule: 7 training images, so 'auto' takes 100 epochs, the whole encoder from epoch 0 on" in said
    assert "set apart by name" in said
    assert "training takes this data (8 images looked at" in said


def test_json_has_every_file_and_nothing_else_is_on_stdout(folder: Path) -> None:
    for number in range(5):
        (folder / "masks" / f"00{number}.png").unlink()
    sound, said = overheard(check_data, prepare("auto", data=str(folder)), as_json=True)
    content = json.loads(said)
    assert not sound and not content["sound"]
    [finding] = [each for each in content["findings"] if each["level"] == "error"]
    assert [Path(item["file"]).name for item in finding["files"]] == [f"00{number}.png" for number in range(5)]
    assert content["schedule"]["why"]


def test_output_holds_json_plots_and_the_suspicious_masks(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    Image.fromarray(np.full((64, 64), 2, np.uint8)).save(folder / "masks/000.png")
    Image.fromarray(np.zeros((60, 64), np.uint8)).save(folder / "masks/001.png")
    sound, _ = overheard(check_data, prepare("auto", data=str(folder)), output=out)
    assert not sound
    assert sorted(path.name for path in out.iterdir()) == ["check.json", "classes.png", "sizes.png", "suspicious.png"]
    assert json.loads((out / "check.json").read_text())["splits"][0]["images"] == 7
    for path in out.glob("*.png"):
        assert np.asarray(Image.open(path)).std() > 0
    for number in (0, 1):
        (folder / "masks" / f"00{number}.png").write_bytes((folder / "masks/002.png").read_bytes())
        (folder / "images" / f"00{number}.png").write_bytes((folder / "images/002.png").read_bytes())
    overheard(check_data, prepare("auto", data=str(folder)), output=out)
    assert not (out / "suspicious.png").exists()  # the old one would be taken for a new one
    with pytest.raises(SnowmeltError, match="cannot be written to"):
        overheard(check_data, prepare("auto", data=str(folder)), output=folder / "images/000.png")


@pytest.mark.parametrize(("images", "published"), [(999, "small_data"), (1000, "medium_data"), (10001, "large_data")])
def test_the_schedule_is_the_one_that_auto_takes(images: int, published: str) -> None:
    settled, _ = settle(ExperimentConfig(name="auto", schedule_by_size=True), images, 2)
    plan = schedule_for(images)
    assert (plan["epochs"], plan["published"]) == (settled.training.epochs, published)
    assert (plan["progressive"], plan["lr_scale"]) == (settled.thaw.progressive, settled.thaw.lr_scale)


def test_settings_of_the_data_are_obeyed(folder: Path, tmp_path: Path) -> None:
    (folder / "masks").rename(folder / "people")
    more = write_data_folder(tmp_path / "more", count=3, classes=3)
    overrides = ["data.mask_folder=people", f"data.unlabelled={more / 'images'}", "data.limit=4"]
    config = prepare("auto", data=str(folder), overrides=overrides)
    found = describe_survey(config, survey_data(config))
    assert [(row["name"], row["images"]) for row in found["splits"]] == [("train", 7), ("val", 1), ("unlabelled", 3)]
    assert found["schedule"]["images"] == 4
    leaks = [each for each in found["findings"] if each["kind"] == "duplicate_across"]
    assert len(leaks) == 1  # the pictures of both folders are made by the same numbers


def test_small_regions_are_a_hint(tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path, count=4, size=192)
    for path in (folder / "masks").iterdir():
        mask = np.zeros((192, 192), np.uint8)
        mask[::24, ::24] = 1
        mask = np.kron(mask[::4, ::4], np.ones((4, 4), np.uint8))
        Image.fromarray(mask).save(path)
    config = prepare("auto", data=str(folder), image_size=64)
    [hint] = describe_survey(config, survey_data(config))["hints"]
    assert hint.startswith("at 64 px, 100 % of the regions of foreground are smaller than 4 x 4 pixels (at 128 px")
