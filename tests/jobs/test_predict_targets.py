"""Where results go, and what is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predicted_runs import files_below

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import class_colors
from snowmelt.jobs.predicting.inputs import Item, find_inputs
from snowmelt.jobs.predicting.targets import Targets

ABOUT = {"weights": "1234", "flip": False}


def items_in(root: Path, *names: str) -> list[Item]:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return find_inputs([root / name for name in names], Path("nowhere")).items


def test_each_kind_has_its_folder_and_its_suffix(tmp_path: Path) -> None:
    picture, video = items_in(tmp_path, "a.b.jpg", "clip.mov")
    targets = Targets(Path("out"), ("mask", "overlay", "probabilities"), frames=True)
    assert {kind: path.as_posix() for kind, path in targets.of(picture).items()} == {
        "mask": "out/masks/a.b.png",
        "overlay": "out/overlays/a.b.jpg",
        "probabilities": "out/probabilities/a.b.npz",
    }
    assert {kind: path.as_posix() for kind, path in targets.of(video).items()} == {
        "mask": "out/masks/clip.mkv",
        "overlay": "out/overlays/clip.mp4",
        "probabilities": "out/probabilities/clip-frames",
        "frames": "out/masks/clip-frames",
    }


def test_a_source_is_the_same_however_its_path_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    targets = Targets(tmp_path / "out", ("mask",))
    source = tmp_path / "run" / "checkpoints" / "best.safetensors"
    targets.prepare({**ABOUT, "source": str(source)}, ["a", "b"], overwrite=False)
    monkeypatch.chdir(tmp_path)
    for same in ("run/checkpoints/best.safetensors", f"{tmp_path}/run//checkpoints/../checkpoints/best.safetensors"):
        targets.prepare({**ABOUT, "source": same}, ["a", "b"], overwrite=False)
    with pytest.raises(SnowmeltError, match="source was"):
        targets.prepare({**ABOUT, "source": "other/best.safetensors"}, ["a", "b"], overwrite=False)


def test_what_is_there_is_kept_unless_asked_for_otherwise(tmp_path: Path) -> None:
    items = items_in(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    targets = Targets(tmp_path / "out", ("mask", "overlay"))
    assert targets.choose(items, overwrite=False, resume=False) == items
    for item, kinds in zip(items, (("mask", "overlay"), ("mask",), ()), strict=True):
        for kind in kinds:
            path = targets.of(item)[kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"old")
    with pytest.raises(SnowmeltError, match=r"a\.png: is there already, and 2 more.*--resume.*--overwrite"):
        targets.choose(items, overwrite=False, resume=False)
    assert targets.choose(items, overwrite=True, resume=False) == items
    assert targets.choose(items, overwrite=False, resume=True) == items[1:]
    with pytest.raises(SnowmeltError, match="exclude each other"):
        targets.choose(items, overwrite=True, resume=True)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_input_is_never_written_over(overwrite: bool, tmp_path: Path) -> None:
    items = items_in(tmp_path, "masks/a.png")
    with pytest.raises(SnowmeltError, match="is one of the inputs"):
        Targets(tmp_path, ("mask",)).choose(items, overwrite=overwrite, resume=False)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SnowmeltError, match="is one of the inputs"):
        Targets(tmp_path / "link", ("mask",)).choose(items, overwrite=overwrite, resume=False)


def test_the_frames_of_a_video_do_not_lie_among_other_files(tmp_path: Path) -> None:
    root = tmp_path / "in"
    items_in(root, "clip.mp4", "clip-frames/000000.jpg", "other/a.jpg")
    items = find_inputs([root / "clip.mp4", root / "clip-frames", root / "other"], Path("nowhere")).items
    with pytest.raises(SnowmeltError, match="clip-frames: is to hold the frames of a video"):
        Targets(tmp_path / "out", ("mask",), frames=True).choose(items, overwrite=False, resume=False)
    assert len(Targets(tmp_path / "out", ("mask",)).choose(items, overwrite=False, resume=False)) == 3


def test_predictions_of_different_networks_are_not_mixed(tmp_path: Path) -> None:
    targets = Targets(tmp_path / "out", ("mask", "overlay"))
    targets.prepare(ABOUT, ("ground", "tree"), overwrite=False)
    assert files_below(tmp_path / "out") == {"prediction.json", "masks/classes.txt", "legend.png"}
    legend = np.asarray(Image.open(tmp_path / "out" / "legend.png"))
    for color in class_colors(2):
        assert (legend == color).all(axis=2).any()
    assert json.loads((tmp_path / "out" / "prediction.json").read_text()) == ABOUT
    assert (tmp_path / "out" / "masks" / "classes.txt").read_text() == "ground\ntree\n"
    targets.prepare(ABOUT, ("ground", "tree"), overwrite=False)
    other = {**ABOUT, "weights": "5678"}
    with pytest.raises(SnowmeltError, match=r"weights was '1234' and is now '5678'.*--output.*--overwrite"):
        targets.prepare(other, ("ground", "tree"), overwrite=False)
    with pytest.raises(SnowmeltError, match=r"its overlays were made otherwise \(weights\) and would stay"):
        Targets(tmp_path / "out", ("mask",)).prepare(other, ("ground", "tree"), overwrite=True)
    Targets(tmp_path / "out", ("mask",)).prepare(ABOUT, ("ground", "tree"), overwrite=True)  # nothing differs
    targets.prepare(other, ("ground", "tree"), overwrite=True)
    (tmp_path / "out" / "prediction.json").write_text("not json")
    with pytest.raises(SnowmeltError, match="no note of a prediction"):
        targets.prepare(ABOUT, ("ground", "tree"), overwrite=False)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(np.zeros(1))
    with pytest.raises(SnowmeltError, match="cannot be written"):
        Targets(tmp_path / "file", ("mask",)).prepare(ABOUT, ("a", "b"), overwrite=False)
