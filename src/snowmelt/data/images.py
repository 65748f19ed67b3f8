"""Reading pictures and masks from files, whatever their mode, depth or orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from snowmelt.data.decoding import MAX_PIXELS, room_for, silence_decoders
from snowmelt.data.geometry import fitted_size
from snowmelt.errors import SnowmeltError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
# A camera's MPO is opened as JPEG and then says that it is MPO.
_FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_ORIENTATION = 0x0112  # EXIF tag
_TURNED = {2, 3, 4, 5, 6, 7, 8}  # orientations that are not upright
_SIDEWAYS = {5, 6, 7, 8}  # those that swap width and height
_BLOCK = 1 << 22  # pixels
_SIXTEEN_BIT = {"I;16", "I;16B", "I;16L", "I;16N"}
# What Pillow's decoders and its EXIF reader are known to raise on damaged input.
_READ_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
)


def read_image(path: Path) -> np.ndarray:
    """A picture as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation.

    Grey is repeated over the channels; palette, CMYK and YCbCr are converted. An alpha channel is dropped, not
    composited: the colours below it are what a camera saw, and a cut-out's alpha would otherwise give its mask away.
    16-bit samples are divided by 257, so that full scale stays full scale. Of several frames the first counts.

    Raises ``SnowmeltError`` naming the file: missing, empty, truncated, no picture, too large, floating point.
    """
    with _opened(path) as image:
        return _upright_rgb(image, path)


def read_reduced(path: Path, long_side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """As ``read_image``, and the (height, width) that it gives; but a large JPEG may come smaller.

    Where its long side is more than twice ``long_side`` it is decoded at a half, a quarter or an eighth, as long as
    neither side becomes less than in ``fitted_size(height, width, long_side)``. Most of the arithmetic is saved.
    """
    with _opened(path) as image:
        width, height = image.size
        sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
        if image.format in {"JPEG", "MPO"} and max(width, height) > 2 * long_side:
            least_height, least_width = fitted_size(height, width, long_side)
            image.draft(None, (least_width, least_height))
        return _upright_rgb(image, path), (width, height) if sideways else (height, width)


def probe_image(path: Path) -> tuple[int, int]:
    """(height, width) of the upright picture, after making sure that all its data is there.

    JPEG data is decoded at an eighth of its size: every byte is read, most of the arithmetic is saved.
    Raises ``SnowmeltError`` as ``read_image`` does.
    """
    with _opened(path) as image:
        if image.mode == "F":
            raise SnowmeltError(
                f"{path}: floating-point picture; save it with 8 or 16 bits a channel", code="image-format"
            )
        width, height = image.size  # draft() below changes it
        if image.format in {"JPEG", "MPO"}:
            image.draft(None, (max(1, width // 8), max(1, height // 8)))
        image.load()
        sideways = image.getexif().get(_ORIENTATION) in _SIDEWAYS
        return (width, height) if sideways else (height, width)


def read_labels(path: Path) -> tuple[np.ndarray, bool]:
    """A mask file's raw labels, (H, W) uint8 or uint16, and whether the file is bilevel (one bit, values 0 and 1).

    A palette file yields its indices, not its colours. A 16-bit file's 65535 is read as 255, the white (or ignored)
    of 8 bits. An RGB file counts if its three channels agree. An EXIF orientation is obeyed as for pictures.

    Raises ``SnowmeltError`` naming the file, also for JPEG (lossy: labels bleed) and for coloured RGB.
    """
    with _opened(path) as image:
        if image.format in {"JPEG", "MPO"}:
            raise SnowmeltError(f"{path}: a JPEG mask has blurred labels; save masks as PNG", code="mask-format")
        bilevel = image.mode == "1"
        image = _upright(image)
        if image.mode in {"1", "L", "P"}:
            return np.array(image, dtype=np.uint8), bilevel
        if image.mode in {"LA", "PA"}:
            return np.array(image)[..., 0], False
        if image.mode in _SIXTEEN_BIT or image.mode == "I":
            labels = _sixteen_bit(image, path)
            labels[labels == 65535] = 255
            return labels, False
        if image.mode in {"RGB", "RGBA"}:
            channels = np.array(image)
            first = channels[..., 0]
            if (channels[..., 1] == first).all() and (channels[..., 2] == first).all():
                return first.copy(), False
            raise SnowmeltError(
                f"{path}: a mask in colours; save class ids, as a grey or palette PNG", code="mask-format"
            )
        raise SnowmeltError(
            f"{path}: mask of mode {image.mode!r}; save class ids, as a grey or palette PNG", code="mask-format"
        )


def count_values(labels: np.ndarray) -> np.ndarray:
    """``bincount`` of (H, W) labels, block by block: in one go it makes 8 bytes of every pixel."""
    flat = labels.ravel()
    count = int(flat.max()) + 1 if flat.size else 0  # 65536 at most
    blocks = (flat[start : start + _BLOCK] for start in range(0, flat.size, _BLOCK))
    return sum((np.bincount(block, minlength=count) for block in blocks), np.zeros(count, np.int64))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open, and turn whatever goes wrong while reading into one line that names the file."""
    silence_decoders()
    try:
        if path.stat().st_size == 0:
            raise SnowmeltError(f"{path}: the file is empty (0 bytes); replace or remove it", code="image-unreadable")
        with Image.open(path, formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise SnowmeltError(
                    f"{path}: {image.width} x {image.height} pixels are too many; make it smaller",
                    code="image-too-large",
                )
            with room_for(image.width * image.height):
                yield image
    except SnowmeltError:
        raise
    except FileNotFoundError as error:
        raise SnowmeltError(f"{path}: no such file", code="file-missing") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise SnowmeltError(
            f"{path}: the picture has far too many pixels; make it smaller", code="image-too-large"
        ) from error
    except UnidentifiedImageError as error:
        raise SnowmeltError(
            f"{path}: not a picture that can be read; replace or remove it", code="image-unreadable"
        ) from error
    except _READ_ERRORS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SnowmeltError(
            f"{path}: damaged or truncated ({reason}); replace or remove it", code="image-unreadable"
        ) from error


def _upright(image: Image.Image) -> Image.Image:
    """``exif_transpose`` copies a picture that stands upright, too, and the largest take a third of a gigabyte."""
    return ImageOps.exif_transpose(image) if image.getexif().get(_ORIENTATION) in _TURNED else image


def _upright_rgb(image: Image.Image, path: Path) -> np.ndarray:
    image = _upright(image)
    if image.mode in _SIXTEEN_BIT or image.mode == "I":
        return _sixteen_bit_to_rgb(image, path)
    if image.mode == "F":
        raise SnowmeltError(f"{path}: floating-point picture; save it with 8 or 16 bits a channel", code="image-format")
    return np.array(image if image.mode == "RGB" else image.convert("RGB"))


def _sixteen_bit(image: Image.Image, path: Path) -> np.ndarray:
    """(H, W) uint16, of its own."""
    values = np.array(image)  # of 16 or 32 bits
    if values.min() < 0 or values.max() > 65535:
        raise SnowmeltError(
            f"{path}: 32-bit values {values.min()} to {values.max()}; save it with 8 or 16 bits", code="image-format"
        )
    return values.astype(np.uint16)


def _sixteen_bit_to_rgb(image: Image.Image, path: Path) -> np.ndarray:
    shades = ((np.arange(65536) + 128) // 257).astype(np.uint8)  # 65535 / 255 = 257
    grey = shades[_sixteen_bit(image, path)]
    return np.repeat(grey[..., None], 3, axis=2)
