"""``snowmelt predict`` on videos: frames in their order, rate and size, and nothing of a damaged one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from predicted_runs import brightest_channel, files_below
from tiny_experiments import overheard

from snowmelt.errors import SnowmeltError
from snowmelt.inference import LOSSLESS, VideoFile, VideoWriter
from snowmelt.jobs import PredictRequest, predict_pictures


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(brightest_channel(tmp_path_factory.mktemp("exported") / "brightest.onnx"))


def write_clip(path: Path, count: int = 6, height: int = 48, width: int = 80) -> list[np.ndarray]:
    """A frame is one colour, another in each, with a square on its way; lossless."""
    frames = []
    writer = VideoWriter(path, 12.5, (height, width), LOSSLESS, True)
    for index in range(count):
        frame = np.full((height, width, 3), 60, np.uint8)
        frame[..., index % 3] = 200
        frame[8:24, 4 * index : 4 * index + 16] = (10, 250, 90)
        writer.write(frame)
        frames.append(frame)
    writer.finish()
    return frames


def predict(source: str, *inputs: Path, output: Path, **options: Any) -> tuple[dict[str, Any], str]:
    return overheard(predict_pictures, PredictRequest(source, inputs, output, device="cpu", **options))


def test_masks_and_overlays_are_videos_of_the_same_rate_and_size(exported: str, tmp_path: Path) -> None:
    frames = write_clip(tmp_path / "clip.mkv")
    options = {"tile": "off", "frames": True, "save": ("mask", "overlay", "probabilities"), "batch_size": 4}
    outcome, said = predict(exported, tmp_path / "clip.mkv", output=tmp_path / "out", **options)
    assert outcome["images"] == 6 and "6 images in" in said
    expected = [frame.argmax(axis=2) for frame in frames]
    mask = VideoFile(tmp_path / "out" / "masks" / "clip.mkv")
    assert mask.fps == pytest.approx(12.5)
    for found, wanted in zip(mask.frames(), expected, strict=True):
        assert np.array_equal(found[..., 0], wanted)
    overlay = VideoFile(tmp_path / "out" / "overlays" / "clip.mp4")
    assert overlay.fps == pytest.approx(12.5)
    assert [frame.shape for frame in overlay.frames()] == [(48, 80, 3)] * 6
    for number, wanted in enumerate(expected):
        single = Image.open(tmp_path / "out" / "masks" / "clip-frames" / f"{number:06d}.png")
        assert np.array_equal(np.asarray(single), wanted)
        with np.load(tmp_path / "out" / "probabilities" / "clip-frames" / f"{number:06d}.npz") as kept:
            assert kept["probabilities"].shape == (3, 48, 80)
    [entry] = outcome["files"]
    assert (entry["frames"], entry["fps"]) == (6, 12.5)
    assert sum(entry["shares"].values()) == pytest.approx(1, abs=1e-5)


def test_a_damaged_video_leaves_nothing_and_the_others_go_on(exported: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "good.mkv")
    write_clip(tmp_path / "cut.avi", count=40)
    whole = (tmp_path / "cut.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_bytes(b"no video")
    inputs = [tmp_path / name for name in ("cut.avi", "text.mp4", "good.mkv")]
    outcome, said = predict(exported, *inputs, output=tmp_path / "out", frames=True)
    assert [Path(entry["input"]).name for entry in outcome["failed"]] == ["cut.avi", "text.mp4"]
    assert len([line for line in said.splitlines() if line.startswith("skipped: ")]) == 2
    assert files_below(tmp_path / "out") == {
        *("prediction.json", "legend.png", "masks/classes.txt", "masks/good.mkv", "overlays/good.mp4"),
        *(f"masks/good-frames/{number:06d}.png" for number in range(6)),
    }


def test_frames_of_before_do_not_stay_among_the_new_ones(exported: str, tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mkv", count=6)
    predict(exported, tmp_path / "clip.mkv", output=tmp_path / "out", frames=True)
    write_clip(tmp_path / "clip.mkv", count=3)
    predict(exported, tmp_path / "clip.mkv", output=tmp_path / "out", frames=True, overwrite=True)
    assert len(list((tmp_path / "out" / "masks" / "clip-frames").iterdir())) == 3


def test_stopped_in_a_video_it_leaves_nothing_of_it(
    exported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(tmp_path / "clip.mkv")
    frames = VideoFile.frames

    def interrupted(self: VideoFile) -> Any:
        for number, frame in enumerate(frames(self)):
            if number == 4:
                raise KeyboardInterrupt
            yield frame

    monkeypatch.setattr(VideoFile, "frames", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(exported, tmp_path / "clip.mkv", output=tmp_path / "out", frames=True, batch_size=1)
    assert files_below(tmp_path / "out") == {"prediction.json", "legend.png", "masks/classes.txt"}
    assert not [path for path in (tmp_path / "out").rglob("*") if "clip" in path.name]


def test_an_odd_side_is_said(exported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path / "clip.mkv")
    frames = VideoFile.frames
    monkeypatch.setattr(VideoFile, "frames", lambda self: (frame[:, :79] for frame in frames(self)))
    _, said = predict(exported, tmp_path / "clip.mkv", output=tmp_path / "out")
    assert "lack one of 79 pixels" in said


def test_it_is_said_at_once_what_is_missing(exported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SnowmeltError, match=r"snowmelt\[video\]"):
        predict(exported, tmp_path / "clip.mp4", output=tmp_path / "out")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(SnowmeltError, match="--frames: is for videos"):
        predict(exported, tmp_path / "a.png", output=tmp_path / "out", frames=True)
    assert not (tmp_path / "out").exists()
