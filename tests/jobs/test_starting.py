"""``init``: the file it writes says what was found, can be planned and trained, and never replaces another silently."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_experiments import overheard, tiny_flags, write_data_folder

from snowmelt.build import open_data, settle
from snowmelt.config import DataConfig
from snowmelt.config_manager import CONFIGS, ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.jobs import check_data, init_experiment, plan_experiment, prepare, train_experiment
from snowmelt.jobs.init_text import class_weights
from snowmelt.jobs.starting import batch_size_for, image_size_for


def write_coco_folder(root: Path) -> Path:
    write_data_folder(root)
    for split, numbers in (("train", range(4)), ("val", range(4, 6))):
        images, regions = [], []
        for number in numbers:
            rows, columns = np.nonzero(np.array(Image.open(root / "masks" / f"{number:03d}.png")))
            left, top, right, bottom = (int(v) for v in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
            images.append({"id": number, "file_name": f"{number:03d}.png", "height": 64, "width": 64})
            polygon = [left, top, right, top, right, bottom, left, bottom]
            regions.append({"id": number, "image_id": number, "category_id": 7, "segmentation": [polygon]})
        content = {"images": images, "annotations": regions, "categories": [{"id": 7, "name": "box"}]}
        (root / f"{split}.json").write_text(json.dumps(content))
    for path in (root / "masks").iterdir():
        path.unlink()
    (root / "masks").rmdir()
    return root


@pytest.mark.usefixtures("draws_nothing")
@pytest.mark.parametrize("kind", ["binary", "classes", "coco"])
def test_the_file_is_planned_and_trained_as_it_is(kind: str, tmp_path: Path) -> None:
    """Only networks and size are made small here; the data's lines stay those of the file."""
    root = tmp_path / "some data"
    make = {"binary": write_data_folder, "classes": partial(write_data_folder, classes=4), "coco": write_coco_folder}
    folder = make[kind](root)
    path = tmp_path / "mine.yaml"
    _, said = overheard(init_experiment, str(folder), output=path)
    assert f"next: snowmelt plan {path}" in said
    _, planned = overheard(plan_experiment, ConfigManager.get_config(str(path)))
    assert "everything" in planned or "blocks." in planned
    small = [flag for flag in tiny_flags(tmp_path / "runs") if flag != "--set" and not flag.startswith("data.source")]
    config = prepare(str(path), epochs=1, overrides=small)
    outcome, _ = overheard(train_experiment, config)
    assert outcome["reason"] == "complete"
    assert (tmp_path / "runs" / "mine" / "checkpoints" / "best.safetensors").exists()


def test_values_come_from_the_data(tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data", count=30, classes=3, size=100)
    mask = np.array(Image.open(folder / "masks/000.png"))
    mask[:10] = 255
    Image.fromarray(mask).save(folder / "masks/000.png")
    path = tmp_path / "mine.yaml"
    overheard(init_experiment, str(folder), output=path)
    config = ConfigManager.get_config(str(path))
    assert config.name == "mine"
    assert config.data.source == str(folder)
    assert config.data.image_size == 96
    assert config.data.val_fraction == DataConfig().val_fraction == 0.1
    splits = open_data(config)
    assert (len(splits.train), len(splits.val)) == (27, 3)
    auto, _ = settle(ConfigManager.get_config("auto"), 27, 2)
    mine, _ = settle(config, 27, 2)
    assert (mine.thaw.progressive, mine.thaw.lr_scale) == (auto.thaw.progressive, auto.thaw.lr_scale)
    assert config.training.epochs == auto.training.epochs
    text = path.read_text()
    assert '# classes: ["background", "class_1", "class_2"]' in text
    assert "3 images are set apart" in text
    assert "Scores of so few vary by chance" in text
    assert "(0.33 % of the pixels)" in text  # 1,000 of 300,000
    longest = max(len(line) for line in text.splitlines() if "source" not in line)
    assert longest <= 120


def test_settings_of_the_data_that_were_given_are_in_the_file(tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data", count=12)
    pictures = write_data_folder(tmp_path / "more", count=3) / "images"
    given = {"unlabelled": str(pictures), "limit": 9, "seed": 4, "augmentation": "heavy", "classes": ["ground", "man"]}
    overrides = [f"data.{name}={json.dumps(value)}" for name, value in given.items()]
    path = tmp_path / "mine.yaml"
    overheard(init_experiment, str(folder), output=path, overrides=overrides)
    data = ConfigManager.get_config(str(path)).data
    assert {name: getattr(data, name) for name in given} == given
    path.unlink()
    with pytest.raises(SnowmeltError, match=r"--set training: init takes settings of the data alone"):
        init_experiment(str(folder), output=path, overrides=["training.epochs=3"])
    assert not path.exists()


def test_a_thaw_of_ones_own_begins_where_it_is_told(tmp_path: Path) -> None:
    """Also on the command line, over the file: it would be in vain beside ``progressive: false``."""
    path = tmp_path / "mine.yaml"
    overheard(init_experiment, str(write_data_folder(tmp_path / "data")), output=path)
    config, _ = settle(prepare(str(path), overrides=["thaw.start=7"]), 30, 2)
    assert (config.thaw.progressive, config.thaw.start, config.thaw.every) == (True, 7, 10)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("more", [False, True])
def test_what_is_not_in_the_file_is_chosen_as_auto_chooses_it(classes: int, more: bool, tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data", count=12, classes=classes)
    pictures = write_data_folder(tmp_path / "more", count=3) / "images"
    path = tmp_path / "mine.yaml"
    overheard(init_experiment, str(folder), output=path)
    overrides = [f"data.unlabelled={pictures}"] if more else []
    written = prepare(str(path), overrides=overrides)
    size, batch = written.data.image_size, written.training.batch_size
    auto = prepare("auto", data=str(folder), image_size=size, batch_size=batch, run_name="mine", overrides=overrides)
    (mine, notes), (theirs, as_noted) = (settle(config, 11, classes) for config in (written, auto))
    assert mine.model_dump() == theirs.model_dump()
    assert notes == as_noted
    assert (mine.training.average, mine.distillation.alpha) == (0.998, 0.9 if more else 0.5)
    given = prepare(str(path), overrides=[*overrides, "distillation.alpha=0.7"])
    assert settle(given, 11, classes)[0].distillation.alpha == 0.7


def test_the_file_names_what_it_leaves_to_auto(tmp_path: Path) -> None:
    """With the figures that ``auto`` has; the sections need no more than their comment signs taken away."""
    path = tmp_path / "mine.yaml"
    overheard(init_experiment, str(write_data_folder(tmp_path / "data")), output=path)
    text = path.read_text()
    assert "# As auto has it, average: 0.998." in text
    sections = re.findall(r"^# (\w+:|  \w+: .*)$", text, re.MULTILINE)
    reactions = CONFIGS["auto"].reactions.model_dump(exclude_unset=True)
    assert yaml.safe_load("\n".join(sections)) == {"distillation": {"alpha": 0.5}, "reactions": reactions}


def test_as_many_are_set_apart_as_check_data_says_and_as_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_data_folder(tmp_path / "data", count=30)
    for given in ([], ["data.val_fraction=0.3"]):
        check_data(prepare("auto", data=str(folder), overrides=given), as_json=True)
        counts = {split["name"]: split["images"] for split in json.loads(capsys.readouterr().out)["splits"]}
        overheard(init_experiment, str(folder), output=tmp_path / "mine.yaml", force=True, overrides=given)
        splits = open_data(ConfigManager.get_config(str(tmp_path / "mine.yaml")))
        assert {"train": len(splits.train), "val": len(splits.val)} == counts
    assert counts["val"] > 3


def test_masks_in_jpeg_are_named_as_the_cause(tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data")
    for path in (folder / "masks").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"))
        path.unlink()
    with pytest.raises(SnowmeltError, match=r"6 masks cannot be read: masks/000\.jpg \(a JPEG mask .* PNG") as no:
        init_experiment(str(folder), output=tmp_path / "mine.yaml")
    assert no.value.code == "data-refused"


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    folder = write_data_folder(tmp_path / "data")
    path = tmp_path / "mine.yaml"
    path.write_text("precious: true\n")
    with pytest.raises(SnowmeltError, match="is there already; --force"):
        init_experiment(str(folder), output=path)
    assert path.read_text() == "precious: true\n"
    overheard(init_experiment, str(folder), output=path, force=True)
    assert ConfigManager.get_config(str(path)).data.source == str(folder)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["data", "mine.yaml"]  # no draft is left
    with pytest.raises(SnowmeltError, match=r"end in \.yaml"):
        init_experiment(str(folder), output=tmp_path / "mine.txt")


def test_data_that_training_refuses_are_told_and_useless_ones_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_data_folder(tmp_path / "data")
    (folder / "masks/002.png").unlink()
    mine = tmp_path / "mine.yaml"
    with pytest.raises(SnowmeltError, match=r"mine\.yaml: is written, but training would refuse .*: 1 kind of") as no:
        init_experiment(str(folder), output=mine)
    assert no.value.code == "data-refused"
    assert "training would refuse: 1 image of 6 without a mask" in capsys.readouterr().out
    assert ConfigManager.get_config(str(mine)).data.source == str(folder)  # the draft serves once the mask is there
    for number in range(6):
        Image.fromarray(np.zeros((64, 64), np.uint8)).save(folder / "masks" / f"{number:03d}.png")
    with pytest.raises(SnowmeltError, match="nothing but background"):
        init_experiment(str(folder), output=tmp_path / "other.yaml")
    assert not (tmp_path / "other.yaml").exists()


def test_embedded_scenes_and_names_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overheard(init_experiment, "scenes-parts:12")
    config = ConfigManager.get_config("scenes-parts-12.yaml")
    assert (config.data.source, config.data.image_size) == ("scenes-parts:12", 128)


def test_rules_for_sizes() -> None:
    assert [image_size_for(side, "cpu") for side in (20, 100, 448, 4000)] == [64, 96, 256, 256]
    assert [image_size_for(side, "CUDA") for side in (448, 4000)] == [448, 512]
    assert [batch_size_for(1000, size, "CUDA") for size in (256, 512)] == [16, 8]
    assert [batch_size_for(images, 256, "cpu") for images in (1000, 32, 31, 3)] == [4, 4, 2, 2]
    weights = class_weights([0.81, 0.16, 0.04, 0.0])
    assert weights[1] / weights[0] == pytest.approx(0.9 / 0.4, rel=0.1)
    assert sum(weights) / 4 == pytest.approx(1, abs=0.01)
    assert weights == sorted(weights)
