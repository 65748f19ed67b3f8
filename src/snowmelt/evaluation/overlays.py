"""Masks as pictures: classes in colour over the image, errors, and the labelled row of one prediction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation.layout import Tile, stack_list, stack_row

IGNORED = 255
ALPHA = 0.6

# Okabe and Ito, "Color Universal Design" (2008): told apart with any of the common colour deficiencies. Yellow
# and blue come late because they are the hardest to see on bright and on dark photographs.
BACKGROUND = (72, 72, 72)
OKABE_ITO = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
)
# No class has these two; they differ in lightness, so they are told apart in any kind of vision.
MISSED, FALSE_ALARM = (255, 255, 255), (220, 38, 127)
IN_LEGEND = 12  # classes; of more, a legend has those that are in its pictures
HATCH = ((150, 150, 150), (205, 205, 205))


def class_colors(classes: int) -> np.ndarray:
    """(C, 3) uint8, RGB by class id. A class keeps its colour whatever the number of classes.

    Class 0, the background, is grey; seven colour-blind-safe ones follow; from the eighth on the same hues return
    darker, then lighter.
    """
    colors: list[tuple[int, ...]] = [BACKGROUND]
    for index in range(classes - 1):
        base = np.array(OKABE_ITO[index % len(OKABE_ITO)], float)
        turn = index // len(OKABE_ITO)
        if turn:
            target, strength = (0.0, 255.0)[(turn - 1) % 2], 0.45 + 0.1 * min((turn - 1) // 2, 4)
            base += (target - base) * strength
        colors.append(tuple(int(value) for value in base))
    return np.array(colors[:classes], dtype=np.uint8).reshape(classes, 3)


def color_mask(mask: np.ndarray, classes: int, ignore_index: int = IGNORED) -> np.ndarray:
    """The mask (H, W) alone as (H, W, 3) uint8; ignored pixels are hatched in grey."""
    mask = _checked_mask(mask, classes, ignore_index)
    ignored = mask == ignore_index
    colored = class_colors(classes)[np.where(ignored, 0, mask)]
    return np.where(ignored[..., None], _hatch(mask.shape), colored)


def overlay_mask(
    image: np.ndarray, mask: np.ndarray, classes: int, ignore_index: int = IGNORED, alpha: float = ALPHA
) -> np.ndarray:
    """The mask (H, W) over the image (H, W, 3) uint8.

    The image is turned grey below, so that its own colours cannot be taken for a class.
    """
    _check_image(image, mask)
    colored = color_mask(mask, classes, ignore_index)
    blended = ((1 - alpha) * _grey(image) + alpha * colored).round().astype(np.uint8)
    return np.where((np.asarray(mask) == ignore_index)[..., None], colored, blended)


def error_map(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, ignore_index: int = IGNORED) -> np.ndarray:
    """Where prediction and truth differ, (H, W, 3) uint8 over the darkened image.

    White: a foreground class was missed or taken for another; magenta: background was taken for a class. Ignored
    pixels are hatched.
    """
    _check_image(image, truth)
    _check_image(image, prediction)
    picture = 0.55 * _grey(image)
    wrong = np.asarray(truth) != np.asarray(prediction)
    background = np.asarray(truth) == 0
    picture[wrong & ~background] = MISSED
    picture[wrong & background] = FALSE_ALARM
    ignored = np.asarray(truth) == ignore_index
    picture[ignored] = _hatch(ignored.shape)[ignored]
    return picture.round().astype(np.uint8)


def prediction_panel(
    image: np.ndarray,
    truth: np.ndarray,
    student: np.ndarray,
    classes: Sequence[str],
    teacher: np.ndarray | None = None,
    caption: str = "",
    ignore_index: int = IGNORED,
    tile_size: int = 256,
) -> np.ndarray:
    """One labelled row: image, truth, teacher (where given), student, errors of the student; a legend below.

    Args:
        image: (H, W, 3) uint8 RGB.
        truth: (H, W) class indices.
        student: as ``truth``.
        classes: names, index is the class id. The legend has all of them, or of many those that are to be seen.
        teacher: as ``truth``.
        caption: a line above the row, such as the name of the image.
        tile_size: longer side of each picture in pixels; images are brought to it.

    Returns:
        (height, width, 3) uint8 RGB, for a PNG or TensorBoard.

    Raises:
        SnowmeltError: sizes that differ, or a label that is no class.
    """
    count = len(classes)
    for mask in (truth, student) if teacher is None else (truth, student, teacher):
        _check_image(image, mask)
    scale = tile_size / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    truth, student = _resized(truth, size), _resized(student, size)

    tiles = [Tile("image", image), Tile("truth", overlay_mask(image, truth, count, ignore_index))]
    if teacher is not None:
        tiles.append(Tile("teacher", overlay_mask(image, _resized(teacher, size), count, ignore_index)))
    tiles.append(Tile("student", overlay_mask(image, student, count, ignore_index)))
    tiles.append(Tile("errors", error_map(image, truth, student, ignore_index)))

    shown = np.unique(np.concatenate([np.ravel(each) for each in (truth, student, teacher) if each is not None]))
    legend: list[tuple[str, np.ndarray]] = [
        (name, np.full((1, 1, 3), color, np.uint8))
        for index, (name, color) in enumerate(zip(classes, class_colors(count), strict=True))
        if count <= IN_LEGEND or index in shown
    ]
    legend.append(("errors: missed or confused", np.full((1, 1, 3), MISSED, np.uint8)))
    legend.append(("errors: false alarm", np.full((1, 1, 3), FALSE_ALARM, np.uint8)))
    if (truth == ignore_index).any():
        legend.append(("ignored", _hatch((14, 14))))
    return stack_row(tiles, legend, caption)


def class_legend(classes: Sequence[str]) -> np.ndarray:
    """(height, width, 3) uint8 RGB: the colour that each class has in overlays and palettes, with id and name."""
    entries = [
        (f"{index}  {name}", np.full((1, 1, 3), color, np.uint8))
        for index, (name, color) in enumerate(zip(classes, class_colors(len(classes)), strict=True))
    ]
    return stack_list(entries)


def _hatch(shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.indices(shape[:2])
    return np.array(HATCH, dtype=np.uint8)[((rows + columns) // 4) % 2]


def _grey(image: np.ndarray) -> np.ndarray:
    grey = image.astype(float) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(grey[..., None], 3, axis=2)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.asarray(mask).astype(np.uint8))
    return np.asarray(picture.resize(size, Image.Resampling.NEAREST))


def _check_image(image: np.ndarray, mask: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise SnowmeltError(
            f"image is {image.dtype} of shape {image.shape}; expected uint8 (height, width, 3)", code="array-shape"
        )
    if np.asarray(mask).shape != image.shape[:2]:
        raise SnowmeltError(
            f"mask of shape {np.asarray(mask).shape} does not fit the image of {image.shape[:2]}; "
            "bring both to one size first",
            code="array-shape",
        )


def _checked_mask(mask: np.ndarray, classes: int, ignore_index: int) -> np.ndarray:
    mask = np.asarray(mask).astype(np.int64)
    wrong = (mask != ignore_index) & ((mask < 0) | (mask >= classes))
    if wrong.any():
        raise SnowmeltError(f"mask has label {mask[wrong][0]}, outside the classes 0..{classes - 1}", code="mask-label")
    return mask
