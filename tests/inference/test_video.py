"""Frames out of video files and into them."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from snowmelt.errors import SnowmeltError
from snowmelt.inference import LOSSLESS, VIEWABLE, VideoFile, VideoWriter, opencv


def frames_of(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright square on its way, in colours that a lossy codec keeps well enough to tell the channels apart."""
    frames = []
    for index in range(count):
        frame = np.full((height, width, 3), (200, 60, 20), np.uint8)
        frame[8:24, 4 * index : 4 * index + 16] = (20, 200, 240)
        frames.append(frame)
    return frames


def write(path: Path, frames: list[np.ndarray], codec: str = VIEWABLE, fps: float = 12.5) -> Path:
    writer = VideoWriter(path, fps, (frames[0].shape[0], frames[0].shape[1]), codec, frames[0].ndim == 3)
    for frame in frames:
        writer.write(frame)
    writer.finish()
    return path


def test_frames_come_back_in_order_in_rgb_and_at_their_rate(tmp_path: Path) -> None:
    given = frames_of(7)
    video = VideoFile(write(tmp_path / "a.mp4", given))
    assert video.fps == pytest.approx(12.5)
    assert video.announced == 7
    found = list(video.frames())
    video.close()
    assert len(found) == 7
    for frame, expected in zip(found, given, strict=True):
        assert frame.shape == expected.shape
        assert np.abs(frame.astype(int) - expected).mean() < 12


def test_labels_survive_the_lossless_codec(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    masks = [random.integers(0, 60, (48, 64), dtype=np.uint8) for _ in range(4)]
    found = list(VideoFile(write(tmp_path / "m.mkv", masks, LOSSLESS)).frames())
    assert len(found) == 4
    assert all(np.array_equal(frame[..., 0], mask) for frame, mask in zip(found, masks, strict=True))


def test_nothing_is_there_before_the_end_or_after_giving_up(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = VideoWriter(path, 10, (48, 64), VIEWABLE, True)
    writer.write(frames_of(1)[0])
    assert not path.exists()
    writer.give_up()
    assert list(tmp_path.iterdir()) == []


def test_frames_are_read_one_at_a_time(tmp_path: Path) -> None:
    video = VideoFile(write(tmp_path / "a.mp4", frames_of(5)))
    first = next(video.frames())
    assert first.shape == (48, 64, 3)
    assert int(video._capture.get(video._cv2.CAP_PROP_POS_FRAMES)) == 1


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.avi", frames_of(12), "MJPG").read_bytes()
    cases = {"text.mp4": b"this is no video", "empty.mp4": b"", "cut.avi": whole[: len(whole) // 3]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SnowmeltError, match=name):
            list(VideoFile(tmp_path / name).frames())
    with pytest.raises(SnowmeltError, match="no such file"):
        VideoFile(tmp_path / "missing.mp4")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match="cannot be written"):
        VideoWriter(tmp_path / "no folder" / "a.mp4", 10, (48, 64), VIEWABLE, True)


def test_without_opencv_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(SnowmeltError, match=r"pip install 'snowmelt\[video\]'"):
        opencv()
