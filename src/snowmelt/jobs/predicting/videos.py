"""One video: frames in, a video of masks and one of overlays out, and single frames where they are asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from snowmelt.data import made_ahead
from snowmelt.inference import LOSSLESS, VIEWABLE, Picture, Prediction, Predictor, VideoFile, VideoWriter
from snowmelt.jobs.predicting.counting import Display, Tally
from snowmelt.jobs.predicting.inputs import Item
from snowmelt.jobs.predicting.request import MASK, OVERLAY, PROBABILITIES
from snowmelt.jobs.predicting.writing import Writing, make_overlay, write_mask, write_probabilities


class _VideoResults:
    """All results of one video; nothing of them is there under its name before the last frame."""

    def __init__(self, targets: dict[str, Path], fps: float, classes: tuple[str, ...]) -> None:
        self._targets, self._fps, self._classes = targets, fps, classes
        self._writers: dict[str, VideoWriter] = {}
        self._asides = {
            kind: path.with_name(f".{path.name}.part")
            for kind, path in targets.items()
            if kind in ("frames", PROBABILITIES)
        }
        self.pixels = np.zeros(len(classes), dtype=np.int64)
        self.shape = (0, 0)

    def write(self, prediction: Prediction) -> None:
        """The next frame."""
        mask, number = prediction.mask, prediction.picture.key
        if number == 0:
            self._open((mask.shape[0], mask.shape[1]))
        if MASK in self._writers:
            self._writers[MASK].write(mask)
        if OVERLAY in self._writers:
            self._writers[OVERLAY].write(make_overlay(prediction.picture.image, mask, len(self._classes)))
        if "frames" in self._asides:
            write_mask(self._asides["frames"] / f"{number:06d}.png", mask, len(self._classes))
        if prediction.probabilities is not None:
            write_probabilities(
                self._asides[PROBABILITIES] / f"{number:06d}.npz", prediction.probabilities, self._classes
            )
        self.pixels += np.bincount(mask.reshape(-1), minlength=len(self._classes))

    def _open(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        for path in self._asides.values():
            shutil.rmtree(path, ignore_errors=True)
        for kind, codec, coloured in ((MASK, LOSSLESS, False), (OVERLAY, VIEWABLE, True)):
            if kind in self._targets:
                self._targets[kind].parent.mkdir(parents=True, exist_ok=True)
                self._writers[kind] = VideoWriter(self._targets[kind], self._fps, shape, codec, coloured)

    def finish(self) -> None:
        for writer in self._writers.values():
            writer.finish()
        for kind, aside in self._asides.items():
            shutil.rmtree(self._targets[kind], ignore_errors=True)
            os.replace(aside, self._targets[kind])

    def give_up(self) -> None:
        for writer in self._writers.values():
            writer.give_up()
        for aside in self._asides.values():
            shutil.rmtree(aside, ignore_errors=True)


def predict_video(
    item: Item, targets: dict[str, Path], predictor: Predictor, classes: tuple[str, ...], tally: Tally, display: Display
) -> None:
    """Read, predict and write a video, frame by frame.

    Raises:
        SnowmeltError: it cannot be read to its end, or its results cannot be written; nothing of them stays.
    """
    assert item.path is not None
    video = VideoFile(item.path)
    results = _VideoResults(targets, video.fps, classes)
    frames = 0

    def pictures() -> Iterator[Picture]:
        yield from (Picture(frame, number) for number, frame in enumerate(made_ahead(video.frames())))

    display.start(item.shown, video.announced)
    try:
        with Writing(threads=1, waiting=4) as write:  # one thread, so that frames stay in order
            for prediction in predictor.predict(pictures()):
                write(results.write, prediction)
                frames += 1
                display.step()
        results.finish()
    except BaseException:
        results.give_up()
        raise
    finally:
        video.close()
    tally.images += frames
    tally.done(item.shown, targets, results.pixels, frames=frames, fps=round(video.fps, 3))
    odd = [side for side in results.shape if side % 2]
    if odd:
        display.say(f"note: {item.shown}: OpenCV writes even sides only, so its videos lack one of {odd[0]} pixels")
