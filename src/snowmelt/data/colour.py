"""Random colours: one affine map of RGB per image, applied to whole batches where they are used."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

GREY = 117.0
"""What contrast turns about: the grey of the padding, so that padding stays as bright as it is."""

_LUMA = np.array([0.299, 0.587, 0.114])
_GRID = 1024  # entries are multiples of its inverse, see ``apply_colour``
_LARGEST = 3.999  # of an entry's amount


@dataclass(frozen=True)
class ColourJitter:
    """How far colours may go: factors of 1 - x to 1 + x, hue in turns from -x to x.

    Unlike torchvision's: brightness, contrast, saturation and hue always come in this order and are rounded once, at
    the end; contrast turns about a fixed grey and not about each image's own; hue is a rotation about the grey axis of
    RGB, which keeps a colour's mean where a shift of HSV's hue keeps its extremes.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    """How often the colour is taken out altogether."""

    def draw(self, random: np.random.Generator) -> torch.Tensor:
        """(3, 4) float32: from RGB in 0..255 and 1 to RGB."""
        shares = 2 * random.random(4) - 1
        brightness = 1 + self.brightness * shares[0]
        contrast = 1 + self.contrast * shares[1]
        saturation = 0.0 if random.random() < self.grey else 1 + self.saturation * shares[2]
        matrix = np.zeros((3, 4))
        saturated = saturation * np.eye(3) + (1 - saturation) * _LUMA
        matrix[:, :3] = brightness * contrast * turned(self.hue * shares[3]) @ saturated
        matrix[:, 3] = (1 - contrast) * GREY
        return on_grid(matrix)


def turned(turns: float) -> np.ndarray:
    """(3, 3): the rotation of RGB about its grey axis (Rodrigues' formula for the axis (1, 1, 1))."""
    cosine, sine = math.cos(2 * math.pi * turns), math.sin(2 * math.pi * turns) / math.sqrt(3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * np.eye(3) + (1 - cosine) / 3 + sine * cross


def on_grid(matrix: np.ndarray) -> torch.Tensor:
    """The matrix as ``apply_colour`` takes it: float32, a little rounded."""
    limited = np.concatenate([matrix[:, :3].clip(-_LARGEST, _LARGEST), matrix[:, 3:].clip(-1023, 1023)], axis=1)
    return torch.from_numpy(np.round(limited * _GRID) / _GRID).float()


def apply_colour(images: torch.Tensor, colour: torch.Tensor) -> torch.Tensor:
    """``colour`` (B, 3, 4) of ``images`` (B, 3, N, N) uint8, rounded (halves to even) and limited to 0..255.

    The entries of ``colour`` are multiples of 1 / 1024 below 4 and offsets below 1024, so every product and every sum
    of float32 is exact: an image's bits depend neither on its batch nor on the device, nor on what is fused there.
    The padding around a picture changes with it.
    """
    if images.device.type == "cpu" and len(images) > 1:
        # One by one, because a large batch in float32 does not fit the processor's cache.
        pairs = zip(images.split(1), colour.split(1), strict=True)
        return torch.cat([apply_colour(image, matrix) for image, matrix in pairs])
    parts = images.to(torch.float32, memory_format=torch.contiguous_format)
    coloured = torch.empty_like(parts)
    terms = colour[..., None, None]  # (B, 3, 4, 1, 1)
    for channel in range(3):
        plane = coloured[:, channel]
        torch.mul(parts[:, 0], terms[:, channel, 0], out=plane)
        plane.addcmul_(parts[:, 1], terms[:, channel, 1])
        plane.addcmul_(parts[:, 2], terms[:, channel, 2])
        plane.add_(terms[:, channel, 3])
    return coloured.round_().clamp_(0, 255).to(torch.uint8)
