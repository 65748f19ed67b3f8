"""What decoders may take: memory for so many pixels at once, and no word on the terminal."""

from __future__ import annotations

import os
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snowmelt.data import decoding
from snowmelt.data.decoding import room_for, silence_decoders
from snowmelt.data.images import count_values, read_image, read_labels


def test_threads_decode_no_more_than_the_largest_picture_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_PIXELS", 100)
    now, most = 0, 0
    lock = threading.Lock()

    def decode(pixels: int) -> None:
        nonlocal now, most
        with room_for(pixels):
            with lock:
                now += pixels
                most = max(most, now)
            time.sleep(0.002)
            with lock:
                now -= pixels

    threads = [threading.Thread(target=decode, args=(pixels,)) for pixels in [40, 70, 100, 30, 30, 30, 250, 10] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert most == 250  # the one that is larger by itself goes alone, and all others stay within the limit


def test_an_error_gives_the_room_back() -> None:
    for _ in range(3):
        with pytest.raises(ValueError), room_for(decoding.MAX_PIXELS):
            raise ValueError
    with room_for(decoding.MAX_PIXELS):
        pass


def test_a_forked_process_has_room_of_its_own() -> None:
    with room_for(decoding.MAX_PIXELS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads
        child = os.fork()
        if child == 0:
            with room_for(1):
                os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_pillow_is_silent_and_nobody_else_is() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        silence_decoders()
        before = list(warnings.filters)
        silence_decoders()
        assert list(warnings.filters) == before  # once is enough
        warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
        warnings.warn_explicit("mine", UserWarning, "mine.py", 1, module="PILLOW.mine")
    assert [str(each.message) for each in caught] == ["mine"]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_frames_the_first_counts(tmp_path: Path, form: str) -> None:
    frames = [Image.new("RGB", (9, 7), colour).quantize(4) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    path = tmp_path / f"frames.{form.lower()}"
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as found:
        assert getattr(found, "n_frames", 1) == 3
    image = read_image(path)
    assert image.shape == (7, 9, 3)
    assert (np.abs(image.astype(int) - (250, 0, 0)) < 10).all()


def test_the_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    picture = Image.new("RGB", (9, 7), (10, 200, 30))
    picture.save(tmp_path / "really_jpeg.png", "JPEG")
    assert read_image(tmp_path / "really_jpeg.png").shape == (7, 9, 3)
    with pytest.raises(ValueError, match=r"really_jpeg\.png: a JPEG mask"):
        read_labels(tmp_path / "really_jpeg.png")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_does_not_keep_anyone_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match=r"pipe\.png: the file is empty"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_counting_by_blocks_is_counting(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 200, (37, 11)).astype(dtype)
    for block in (1, 10, 407, 10**6):
        monkeypatch.setattr("snowmelt.data.images._BLOCK", block)
        np.testing.assert_array_equal(count_values(labels), np.bincount(labels.ravel()))
