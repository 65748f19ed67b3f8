"""Augmentation and letterboxing: geometry shared by picture and mask, colour for the picture alone.

Everything takes and returns ``tv_tensors``: ``Image`` (3, H, W) uint8 and ``Mask`` (H, W) uint8. What a picture does
not fill is ``PAD_COLOUR`` in the picture and ``IGNORE_INDEX`` in the mask. A ``Trace`` may follow them through the
geometry (see ``geometry``); it draws no random number.
"""

from __future__ import annotations

from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from snowmelt.data.geometry import Rotation, Trace, fitted_size
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.errors import SnowmeltError

AUGMENTATIONS = ("none", "light", "heavy")
PAD_COLOUR = (124, 116, 104)  # the ImageNet mean: about zero once normalised
_FILL: dict[Any, Any] = {tv_tensors.Image: PAD_COLOUR, tv_tensors.Mask: IGNORE_INDEX, Trace: 0}


class RandomScale(v2.Transform):
    """Resize so that the long side becomes ``size`` times a factor drawn evenly from ``scale`` on a log axis.

    Unlike ``v2.ScaleJitter`` the mask is sampled at pixel centres (``NEAREST_EXACT``): torch's plain nearest takes
    the corner of each cell, which shifts masks against pictures by up to half an output pixel.
    """

    def __init__(self, size: int, scale: tuple[float, float]) -> None:
        super().__init__()
        self.size = size
        self.scale = scale

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        height, width = v2.query_size(flat_inputs)
        low, high = self.scale
        share = torch.rand(()).item() if high > low else 0.0
        return {"size": list(fitted_size(height, width, self.size * low * (high / low) ** share))}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, tv_tensors.Mask):
            plane = inpt.as_subclass(torch.Tensor)[None]
            resized = F.resize_image(plane, params["size"], interpolation=InterpolationMode.NEAREST_EXACT)
            return tv_tensors.wrap(resized[0], like=inpt)
        return self._call_kernel(
            F.resize, inpt, params["size"], interpolation=InterpolationMode.BILINEAR, antialias=True
        )


class Letterbox(RandomScale):
    """The whole picture in a square: long side to ``size``, aspect kept, padded at the bottom or on the right.

    So ``output[..., :h, :w]`` with ``h, w = fitted_size(H, W, size)`` is the picture again.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, (1.0, 1.0))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        resized = super().transform(inpt, params)
        height, width = params["size"]
        fill = _FILL[type(resized)]
        return F.pad(resized, [0, 0, self.size - width, self.size - height], fill=fill)


class Augmentation:
    """Geometry, then colour, as two parts that can be applied one without the other.

    What was predicted for an un-augmented picture (a cached teacher, say) meets the augmented picture pixel by pixel:
    a ``Trace`` that goes through ``geometric`` with picture and mask, as their third, tells where to look.
    """

    def __init__(self, geometric: v2.Transform, colour: v2.Transform) -> None:
        self.geometric = geometric
        self.colour = colour

    def __call__(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> tuple[tv_tensors.Image, tv_tensors.Mask]:
        image, mask = self.geometric(image, mask)
        return self.colour(image), mask


def build_transform(kind: str, size: int) -> Augmentation:
    """The training augmentation with (size, size) outputs.

    none: letterbox only. light: flip, scale 0.75 to 1.5 with a random crop, mild colour. heavy: scale 0.5 to 2,
    rotation up to 15 degrees, strong colour, now and then grey, blur and noise.

    Raises ``SnowmeltError`` for another kind or a size below 1.
    """
    _check_size(size)
    if kind == "none":
        return Augmentation(Letterbox(size), v2.Identity())
    crop = v2.RandomCrop((size, size), pad_if_needed=True, fill=_FILL)
    if kind == "light":
        geometric = v2.Compose([v2.RandomHorizontalFlip(), RandomScale(size, (0.75, 1.5)), crop])
        return Augmentation(geometric, v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.02))
    if kind == "heavy":
        rotation = Rotation(15, interpolation=InterpolationMode.BILINEAR, expand=True, fill=_FILL)
        geometric = v2.Compose([v2.RandomHorizontalFlip(), RandomScale(size, (0.5, 2.0)), rotation, crop])
        colour = v2.Compose(
            [
                v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05),
                v2.RandomGrayscale(0.1),
                v2.RandomApply([v2.GaussianBlur(5, sigma=(0.1, 2.0))], p=0.3),
                v2.RandomApply([v2.GaussianNoise(sigma=10.0 / 255)], p=0.3),
            ]
        )
        return Augmentation(geometric, colour)
    raise SnowmeltError(f"augmentation {kind!r} is not known; choose one of {', '.join(AUGMENTATIONS)}")


def build_evaluation_transform(size: int) -> Augmentation:
    """No randomness: the letterbox, the same as kind "none"."""
    return build_transform("none", size)


def _check_size(size: int) -> None:
    if size < 1:
        raise SnowmeltError(f"image size {size}: it must be at least 1 pixel")
