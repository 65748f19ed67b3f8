from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from snowmelt.data.images import MAX_PIXELS, probe_image, read_image, read_labels
from snowmelt.errors import SnowmeltError

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (6, 10), dtype=np.uint8)


def png(path: Path, samples: np.ndarray, depth: int, colour_type: int, size: tuple[int, int] | None = None) -> Path:
    """A PNG written by hand: Pillow cannot write 16-bit colour, nor a header that lies about the size."""
    height, width = size or samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def oriented(tag: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = tag
    return exif


def test_plain_colour_comes_out_unchanged(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "a.png", Image.fromarray(RGB)))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, RGB)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm"])
def test_lossless_formats_agree(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(RGB), **({"lossless": True} if suffix == "webp" else {}))
    np.testing.assert_array_equal(read_image(path), RGB)
    assert probe_image(path) == (6, 10)


def test_grey_is_repeated_over_the_channels(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "a.png", Image.fromarray(GREY)))
    np.testing.assert_array_equal(found, np.stack([GREY] * 3, axis=2))


def test_bilevel_is_black_and_white(tmp_path: Path) -> None:
    found = read_image(saved(tmp_path / "a.png", Image.fromarray(GREY > 100)))
    np.testing.assert_array_equal(found, np.stack([np.where(GREY > 100, 255, 0)] * 3, axis=2))


def test_alpha_is_dropped_and_its_colours_kept(tmp_path: Path) -> None:
    alpha = RNG.integers(0, 256, (6, 10, 1), dtype=np.uint8)
    np.testing.assert_array_equal(
        read_image(saved(tmp_path / "a.png", Image.fromarray(np.concatenate([RGB, alpha], axis=2)))), RGB
    )


def test_palette_colours_are_looked_up(tmp_path: Path) -> None:
    indices = Image.fromarray(GREY % 3).convert("L")
    image = Image.new("P", (10, 6))
    image.putpalette([10, 20, 30, 200, 100, 50, 7, 8, 9])
    image.putdata(list(indices.get_flattened_data()))
    colours = np.array([[10, 20, 30], [200, 100, 50], [7, 8, 9]], dtype=np.uint8)
    np.testing.assert_array_equal(read_image(saved(tmp_path / "a.png", image)), colours[GREY % 3])


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    red = Image.new("RGB", (16, 16), (200, 40, 30))
    found = read_image(saved(tmp_path / "a.jpg", red.convert("CMYK"), quality=95))
    np.testing.assert_allclose(found[8, 8], [200, 40, 30], atol=6)


def test_sixteen_bit_grey_keeps_full_scale(tmp_path: Path) -> None:
    values = np.array([[0, 257, 128 * 257], [65535, 65535 - 257, 100]], dtype=np.uint16)
    found = read_image(saved(tmp_path / "a.png", Image.fromarray(values)))
    np.testing.assert_array_equal(found[..., 1], [[0, 1, 128], [255, 254, 0]])
    tiff = read_image(saved(tmp_path / "a.tif", Image.fromarray(values)))
    np.testing.assert_array_equal(tiff, found)


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    found = read_image(png(tmp_path / "a.png", RGB.astype(np.uint16) * 257, 16, 2))
    np.testing.assert_array_equal(found, RGB)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_is_undone(tmp_path: Path, tag: int, suffix: str) -> None:
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16] = 255  # the corner that shows where the top left went
    stored = {  # what a camera stores, by the EXIF definition of each orientation
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[tag]
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=oriented(tag))
    np.testing.assert_allclose(read_image(path).astype(int), upright, atol=3)
    assert probe_image(path) == (16, 32)


@pytest.mark.parametrize("read", [read_image, probe_image, read_labels])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "webp"])
def test_a_truncated_file_is_named(tmp_path: Path, suffix: str, read: object) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / f"whole.{suffix}", Image.fromarray(noise))
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(SnowmeltError, match=rf"cut\.{suffix}: "):
        read(cut)  # type: ignore[operator]


def test_a_progressive_jpeg_cut_near_its_end_is_found(tmp_path: Path) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(tmp_path / "whole.jpg", Image.fromarray(noise), progressive=True)
    assert probe_image(path) == (64, 64)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])
    for read in (probe_image, read_image):
        with pytest.raises(SnowmeltError, match=r"cut\.jpg: damaged or truncated"):
            read(cut)


@pytest.mark.parametrize("read", [read_image, probe_image, read_labels])
def test_files_that_are_no_pictures(tmp_path: Path, read: object) -> None:
    empty, text = tmp_path / "empty.png", tmp_path / "text.png"
    empty.touch()
    text.write_text("not a picture")
    for path, reason in ((empty, "0 bytes"), (text, "not a picture"), (tmp_path / "gone.png", "no such file")):
        with pytest.raises(SnowmeltError, match=rf"{path.name}: .*{reason}"):
            read(path)  # type: ignore[operator]


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_decompression_bombs_are_refused_by_their_header(tmp_path: Path, side: int) -> None:
    assert side * side > MAX_PIXELS
    path = png(tmp_path / "bomb.png", np.zeros((1, 1), dtype=np.uint8), 8, 0, size=(side, side))
    for read in (read_image, probe_image, read_labels):
        with pytest.raises(SnowmeltError, match=r"bomb\.png: .*pixels.*smaller"):
            read(path)


def test_floating_point_pictures_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(np.zeros((3, 3), dtype=np.float32)))
    for read in (read_image, probe_image, read_labels):
        with pytest.raises(SnowmeltError, match=r"a\.tif: "):
            read(path)


def test_damaged_exif_is_one_line_or_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(RGB).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    try:
        assert read_image(path).shape == (6, 10, 3)
    except SnowmeltError as error:
        assert "a.jpg" in str(error) and "\n" not in str(error)


def test_labels_of_a_palette_file_are_indices(tmp_path: Path) -> None:
    image = Image.new("P", (10, 6))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata(list((GREY % 3).ravel()))
    labels, bilevel = read_labels(saved(tmp_path / "m.png", image))
    np.testing.assert_array_equal(labels, GREY % 3)
    assert not bilevel


def test_labels_of_a_bilevel_file_are_zero_and_one(tmp_path: Path) -> None:
    labels, bilevel = read_labels(saved(tmp_path / "m.png", Image.fromarray(GREY > 100)))
    np.testing.assert_array_equal(labels, GREY > 100)
    assert bilevel


def test_sixteen_bit_labels_keep_their_ids(tmp_path: Path) -> None:
    values = np.array([[0, 3, 300], [65535, 255, 1]], dtype=np.uint16)
    labels, _ = read_labels(saved(tmp_path / "m.png", Image.fromarray(values)))
    np.testing.assert_array_equal(labels, [[0, 3, 300], [255, 255, 1]])


def test_grey_labels_may_be_stored_as_equal_channels_but_not_as_colours(tmp_path: Path) -> None:
    grey = np.stack([GREY] * 3, axis=2)
    labels, _ = read_labels(saved(tmp_path / "m.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(labels, GREY)
    with pytest.raises(SnowmeltError, match=r"c\.png: a mask in colours"):
        read_labels(saved(tmp_path / "c.png", Image.fromarray(RGB)))


def test_labels_in_jpeg_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SnowmeltError, match=r"m\.jpg: a JPEG mask"):
        read_labels(saved(tmp_path / "m.jpg", Image.fromarray(GREY)))
