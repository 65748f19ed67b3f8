"""Where the answers for a cache come from: a teacher that is asked, or maps that lie in files already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.data import fitted_size
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.cache.resampling import replicate_edges
from snowmelt.teachers.protocol import StoredMaps, Teacher

Filled = tuple[int, int]  # (h, w) of a picture within its square
Mapping = Callable[[Tensor], Tensor]  # (B, K, h, w) logits of the teacher's classes -> (B, C, h, w) of the student's

_ASPECT_ERROR = 0.02  # of the sides' quotient, beside a pixel of rounding


class Answers(Protocol):
    """What ``fill`` calls for each batch of clean, letterboxed pictures."""

    def __call__(self, images: Tensor, names: Sequence[str], filled: Sequence[Filled]) -> Tensor:
        """(B, 3, N, N) uint8 on the CPU, names, (h, w) within the square -> (B, C, N, N) logits on any device."""
        ...


def answers_of_teacher(teacher: Teacher, device: torch.device | str = "cpu") -> Answers:
    """Asks the teacher, whose home is ``device``."""

    def ask(images: Tensor, names: Sequence[str], filled: Sequence[Filled]) -> Tensor:
        return teacher(images.to(device))

    return ask


def answers_of_maps(maps: StoredMaps, mapping: Mapping | None = None) -> Answers:
    """Reads the map of each picture's name and lays it over the picture's part of the square.

    Errors: SnowmeltError naming the picture where it has no map, or one of another shape than the picture.
    """

    def ask(images: Tensor, names: Sequence[str], filled: Sequence[Filled]) -> Tensor:
        size = images.shape[-1]
        found = [letterboxed_map(maps, name, size, part, mapping) for name, part in zip(names, filled, strict=True)]
        if len({len(each) for each in found}) > 1:
            raise SnowmeltError(
                f"{maps.describe()}: maps of {', '.join(names)} differ in their numbers of channels", code="teacher-map"
            )
        return torch.stack(found)

    return ask


def letterboxed_map(
    maps: StoredMaps, name: str, size: int, filled: Filled | None = None, mapping: Mapping | None = None
) -> Tensor:
    """(C, size, size) float32: the stored map of ``name`` where its picture lies, its edge repeated beyond.

    ``mapping`` is applied to the map as it is stored. A smaller map is enlarged bilinearly, a larger one averaged.
    Without ``filled`` the map's own shape says what its picture fills, give or take a pixel.
    """
    logits = maps.read(name)
    if mapping is not None:
        logits = mapping(logits[None])[0]
    shape = (int(logits.shape[-2]), int(logits.shape[-1]))
    if filled is None:
        filled = fitted_size(*shape, size)
    else:
        check_aspect(name, shape, filled)
    inside = F.interpolate(logits[None].float(), size=filled, mode="bilinear", align_corners=False, antialias=True)[0]
    return replicate_edges(F.pad(inside, (0, size - filled[1], 0, size - filled[0])), filled)


def check_aspect(name: str, shape: tuple[int, int], filled: Filled) -> None:
    """Raises ``SnowmeltError`` where a map of this (h, w) cannot be of the picture that fills (h, w) of the square.

    Either may have been rounded to whole pixels.
    """
    (height, width), (filled_height, filled_width) = shape, filled
    rounding = 0.5 / min(shape) + 0.5 / min(filled)
    if abs(height * filled_width / (width * filled_height) - 1) > _ASPECT_ERROR + rounding:
        raise SnowmeltError(
            f"{name}: its stored map has {height} x {width} values, which is not the picture's shape "
            f"({filled_height}:{filled_width}); a map has to cover the whole picture, uncropped",
            code="teacher-map",
        )
