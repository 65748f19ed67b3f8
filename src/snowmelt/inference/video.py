"""Frames out of video files and into them, one at a time. OpenCV does it (extra ``snowmelt[video]``)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from snowmelt.errors import SnowmeltError

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv")
LOSSLESS = "FFV1"
"""Frames of labels come back as they were written; OpenCV takes it in .mkv."""
VIEWABLE = "mp4v"
"""MPEG-4 part 2, which all builds of OpenCV write, in .mp4."""
_FEWEST = 0.9  # of the announced frames; the count in the header is an estimate for some containers
_SLOWEST, _USUAL = 0.01, 25.0  # frames a second


def opencv() -> Any:
    """The module.

    Raises ``SnowmeltError`` with what to install where it is missing.
    """
    # Damaged files are told in one line of ours; FFmpeg would write its own thoughts between them.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    try:
        import cv2
    except ImportError as error:
        raise SnowmeltError(
            "videos are read with OpenCV, which is not installed; pip install 'snowmelt[video]'",
            code="extra-missing",
        ) from error
    return cv2


class VideoFile:
    """A video that is read frame by frame, turned upright as its metadata say.

    Attributes:
        fps: frames a second; 25 where the file does not say.
        announced: how many frames the file says that it has; 0 where it does not say.

    Raises ``SnowmeltError`` for a file that cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        cv2 = opencv()
        self.path = path
        if not path.is_file():
            raise SnowmeltError(f"{path}: no such file", code="file-missing")
        self._cv2 = cv2
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            self._capture.release()
            raise SnowmeltError(
                f"{path}: not a video that OpenCV can read; is it damaged or of another format?",
                code="video-unreadable",
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > _SLOWEST else _USUAL
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.announced = int(count) if math.isfinite(count) and count > 0 else 0

    def frames(self) -> Iterator[np.ndarray]:
        """(H, W, 3) uint8 RGB, in order, all of one size.

        Raises ``SnowmeltError``: no frame at all, another size on the way, or an end long before the announced one.
        """
        count, shape = 0, None
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            if shape is not None and frame.shape != shape:
                raise SnowmeltError(
                    f"{self.path}: frame {count} has another size than those before it; re-encode it",
                    code="video-unreadable",
                )
            shape = frame.shape
            count += 1
            yield self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        if count == 0:
            raise SnowmeltError(f"{self.path}: not one frame can be read; is it damaged?", code="video-unreadable")
        if count < _FEWEST * self.announced:
            raise SnowmeltError(
                f"{self.path}: damaged or truncated, {count} of some {self.announced} frames can be read; re-encode it",
                code="video-unreadable",
            )

    def close(self) -> None:
        self._capture.release()


class VideoWriter:
    """Writes aside; the file is there under its name when ``finish`` was called, else not at all.

    OpenCV writes even sides only: of an odd one the last column or row is left out.

    Args:
        codec: ``LOSSLESS`` or ``VIEWABLE``.
        coloured: frames are (H, W, 3) RGB, else (H, W); uint8 either way.
    """

    def __init__(self, path: Path, fps: float, shape: tuple[int, int], codec: str, coloured: bool) -> None:
        cv2 = opencv()
        self.path = path
        self._cv2, self._coloured = cv2, coloured
        self._aside = path.with_name(f".{path.stem}.part{path.suffix}")  # the suffix names the container
        self._writer = cv2.VideoWriter(
            str(self._aside), cv2.VideoWriter_fourcc(*codec), fps, (shape[1], shape[0]), coloured
        )
        if not self._writer.isOpened():
            raise SnowmeltError(
                f"{path}: cannot be written ({codec} by this OpenCV, {shape[1]} x {shape[0]} pixels)",
                code="file-unwritable",
            )

    def write(self, frame: np.ndarray) -> None:
        self._writer.write(self._cv2.cvtColor(frame, self._cv2.COLOR_RGB2BGR) if self._coloured else frame)

    def finish(self) -> None:
        self._writer.release()
        if not self._aside.is_file() or self._aside.stat().st_size == 0:
            raise SnowmeltError(f"{self.path}: nothing was written; is the disk full?", code="file-unwritable")
        os.replace(self._aside, self.path)

    def give_up(self) -> None:
        """Remove what was begun."""
        self._writer.release()
        self._aside.unlink(missing_ok=True)
