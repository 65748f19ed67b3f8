from __future__ import annotations

import json

import numpy as np
import pytest
from made_pages import draw
from PIL import Image

from snowmelt.reporting import Prediction, RunFolder, save_layers

CLASSES = ("background", "person")


def test_every_layer_is_a_picture_of_one_size(folder: RunFolder) -> None:
    draw(folder, ["a/b c.jpg", "a/b c.jpg"], CLASSES)
    content = json.loads((folder.predictions / "layers.json").read_text())
    assert [entry["name"] for entry in content["images"]] == ["a/b c.jpg"] * 2
    files = [file for entry in content["images"] for file in entry["layers"].values()]
    assert len(set(files)) == 10
    for file in files:
        with Image.open(folder.predictions / file) as picture:
            assert (picture.format, picture.size) == ("WEBP", (384, 288))


def test_scores_are_those_of_the_image_alone(folder: RunFolder) -> None:
    """12 x 12 pixels of a person in 24 x 32, shifted by 2: IoU 120 / 168 and 600 / 648."""
    draw(folder, ["one"], CLASSES)
    [entry] = json.loads((folder.predictions / "layers.json").read_text())["images"]
    assert entry["miou"] == pytest.approx((120 / 168 + 600 / 648) / 2)
    assert entry["teacher_miou"] > entry["miou"]


def test_ignored_pixels_count_nowhere_and_no_class_is_no_score(folder: RunFolder) -> None:
    image, nothing = np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)
    save_layers(folder, [Prediction("x", image, nothing, np.zeros((8, 8), np.uint8))], CLASSES)
    [entry] = json.loads((folder.predictions / "layers.json").read_text())["images"]
    assert entry["miou"] is None
    assert "teacher_miou" not in entry
    assert list(entry["layers"]) == ["image", "truth", "student", "errors"]


def test_layers_of_before_go(folder: RunFolder) -> None:
    draw(folder, ["one", "two"], CLASSES)
    draw(folder, ["three"], CLASSES, teacher=False)
    assert len(list((folder.predictions / "layers").iterdir())) == 4
