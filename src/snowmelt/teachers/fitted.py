"""A teacher made of a model: pictures in the model's size, logits in the student's classes and size."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from torch.nn import functional

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.mapping import ClassMapping
from snowmelt.teachers.protocol import TeacherModel


class FittedTeacher:
    """A ``Teacher`` over any ``TeacherModel``.

    Args:
        model: what answers; kept as ``model``.
        channels: of the student's logits, one for two classes.
        size: side in pixels of the square in which the model sees the pictures; None: as they come. A model that
            demands a size gets it in any case.
        mapping: teacher classes to student classes; None where they are the same.

    Errors: SnowmeltError if ``size`` is not what the model demands, or the mapping gives another number of channels.
    """

    def __init__(
        self,
        model: TeacherModel,
        *,
        channels: int,
        size: int | None = None,
        mapping: ClassMapping | None = None,
    ) -> None:
        if size is not None and size < 1:
            raise SnowmeltError(f"teacher.image_size: {size} pixels; it must be at least 1", code="settings-value")
        if size is not None and model.size is not None and model.size != (size, size):
            raise SnowmeltError(
                f"teacher.image_size: {model.describe()} takes pictures of {_text(model.size)} only, not {size}; "
                "leave it out",
                code="teacher-size",
            )
        if mapping is not None and mapping.channels != channels:
            raise SnowmeltError(
                f"the class mapping gives {mapping.channels} channels, but the student has {channels}",
                code="teacher-classes",
            )
        self.model = model
        self.channels = channels
        self.mapping = mapping
        self.size = model.size if size is None else (size, size)

    @property
    def digest(self) -> str:
        """Of the model, the mapping, the size and the number of channels."""
        parts = (self.model.digest, self.mapping and self.mapping.digest, self.size, self.channels)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B, ``channels``, H, W) float32 logits, without a graph.

        Pictures are resized with antialiasing and rounded to uint8 again. Classes are mapped in the model's own
        resolution, and the logits are brought to the pictures' size last (bilinear, corners not aligned).

        Errors: SnowmeltError if the model gives another number of channels than it should.
        """
        height, width = images.shape[-2:]
        with torch.no_grad():
            logits = self.model(resize_pictures(images, self.size))
            if self.mapping is not None:
                logits = self.mapping.apply(logits)
            self._check(logits, len(images))
            if logits.shape[-2:] != (height, width):
                logits = functional.interpolate(logits, (height, width), mode="bilinear", align_corners=False)
            return logits.float()

    def describe(self) -> str:
        text = self.model.describe()
        if self.size is not None:
            text += f", at {_text(self.size)}"
        return text if self.mapping is None else f"{text}, {self.mapping.describe()}"

    def _check(self, logits: Tensor, count: int) -> None:
        if logits.ndim != 4 or len(logits) != count:
            raise SnowmeltError(
                f"{self.model.describe()} gives {tuple(logits.shape)} for {count} pictures; "
                "a teacher has to give logits of the form (pictures, classes, height, width)",
                code="teacher-answer",
            )
        if logits.shape[1] != self.channels:
            raise SnowmeltError(
                f"{self.model.describe()} gives {logits.shape[1]} channels, but the student's classes need "
                f"{self.channels}; say with teacher.class_map which of its classes are the data's",
                code="teacher-classes",
            )


def resize_pictures(images: Tensor, size: tuple[int, int] | None) -> Tensor:
    """(B, 3, H, W) uint8 -> (B, 3, h, w) uint8, bilinear with antialiasing; the same tensor where nothing changes."""
    if size is None or images.shape[-2:] == size:
        return images
    resized = functional.interpolate(images.float(), size, mode="bilinear", align_corners=False, antialias=True)
    return resized.round_().clamp_(0, 255).to(torch.uint8)


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"
