from __future__ import annotations

import numpy as np
from PIL import Image

from snowmelt.reporting import Prediction, RunFolder, make_panels, save_panels

CLASSES = ("background", "person")


def prediction(name: str, teacher: bool = True) -> Prediction:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:15] = 1
    return Prediction(name, np.full((20, 30, 3), 90, np.uint8), mask, mask, mask if teacher else None)


def test_files_by_name(folder: RunFolder) -> None:
    names = ["a.jpg", "sub/b c.png", "a.jpg", "../..", "sub_b_c.png", "人"]
    paths = save_panels(folder, make_panels([prediction(name) for name in names], CLASSES))
    assert [path.name for path in paths] == [
        "a.jpg.png",
        "sub_b_c.png.png",
        "a.jpg_2.png",
        "image.png",
        "sub_b_c.png_2.png",
        "人.png",
    ]
    assert all(path.parent == folder.predictions for path in paths)
    panels = make_panels([prediction("a.jpg")], CLASSES)
    assert np.array_equal(np.asarray(Image.open(paths[0])), panels["a.jpg"])


def test_a_later_epoch_replaces_the_pictures(folder: RunFolder) -> None:
    save_panels(folder, make_panels([prediction("a")], CLASSES))
    save_panels(folder, make_panels([prediction("a", teacher=False)], CLASSES))
    assert [path.name for path in folder.predictions.iterdir()] == ["a.png"]
