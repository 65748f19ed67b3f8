"""Augmentation and letterboxing: geometry shared by picture and mask, colour for the picture alone.

What a picture does not fill is ``PAD_COLOUR`` in the picture and ``IGNORE_INDEX`` in the mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torchvision.transforms.v2 import functional as F

from snowmelt.data.colour import ColourJitter
from snowmelt.data.geometry import fitted_size, letterbox_placement
from snowmelt.data.placement import PAD_COLOUR, Drawn, Placed, blank, place
from snowmelt.data.working import Working, resize_image, resize_mask
from snowmelt.errors import SnowmeltError

__all__ = [
    "AUGMENTATIONS",
    "PAD_COLOUR",
    "Augmentation",
    "Letterbox",
    "build_evaluation_transform",
    "build_transform",
]


class Letterbox:
    """The whole picture in a square: long side to ``size``, aspect kept, padded at the bottom or on the right.

    So ``output[..., :h, :w]`` with ``h, w = fitted_size(H, W, size)`` is the picture again.
    Raises ``SnowmeltError`` for a size below 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise SnowmeltError(f"image size {size}: it must be at least 1 pixel", code="settings-value")
        self.size = size

    @property
    def working_side(self) -> int:
        """Long side of the working pictures that show all that a letterbox shows."""
        return self.size

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(3, H, W) and (H, W) uint8 -> (3, N, N) and (N, N)."""
        shape = (int(mask.shape[0]), int(mask.shape[1]))
        return self._boxed(image, mask, fitted_size(*shape, self.size))

    def place(self, working: Working) -> Placed:
        """The item of a working picture; of the size, too, that its origin would have."""
        shape = (int(working.mask.shape[0]), int(working.mask.shape[1]))
        pixels = torch.from_numpy(_writable(working.image)).permute(2, 0, 1)
        labels = torch.from_numpy(_writable(working.mask))
        image, mask = self._boxed(pixels, labels, fitted_size(*working.origin, self.size))
        return Placed(image, mask, letterbox_placement(shape, working.origin, self.size))

    def _boxed(
        self, image: torch.Tensor, mask: torch.Tensor, shape: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        canvas, marks = blank(self.size)
        canvas[:, : shape[0], : shape[1]] = resize_image(image, shape)
        marks[: shape[0], : shape[1]] = resize_mask(mask, shape)
        return canvas, marks


@dataclass(frozen=True)
class Recipe:
    """What an augmentation may do; ``scale``: long side of the picture as a multiple of the output's."""

    scale: tuple[float, float] = (1.0, 1.0)
    degrees: float = 0.0
    flip: bool = False
    colour: ColourJitter | None = None
    blur: float = 0.0  # how often
    noise: float = 0.0


RECIPES = {
    "none": Recipe(),
    "light": Recipe((0.75, 1.5), flip=True, colour=ColourJitter(0.2, 0.2, 0.2, 0.02)),
    "heavy": Recipe((0.5, 2.0), 15.0, True, ColourJitter(0.4, 0.4, 0.4, 0.05, grey=0.1), blur=0.3, noise=0.3),
}
AUGMENTATIONS = tuple(RECIPES)
_NOISE_LEVELS = 10.0  # standard deviation in grey levels
_BLUR_PIXELS, _BLUR_SIGMAS = 5, (0.1, 2.0)


class Augmentation:
    """Geometry and texture of an item, and then its colour, which is only drawn here (see ``Batch.coloured``).

    What was predicted for an un-augmented picture (a cached teacher, say) meets the augmented picture pixel by pixel:
    the ``placement`` of the item tells where to look.
    """

    def __init__(self, recipe: Recipe, size: int) -> None:
        self.recipe = recipe
        self.size = size
        self._letterbox = Letterbox(size)  # which also looks at the size

    @property
    def working_side(self) -> int:
        """Long side of the working pictures that show all that the largest scale can show."""
        return math.ceil(self.size * self.recipe.scale[1])

    def draw(self, random: np.random.Generator) -> Drawn:
        """The geometry of one item: the scale even on a log axis, all else even."""
        low, high = self.recipe.scale
        scale, turn, down, across = random.random(4).tolist()
        return Drawn(
            flip=self.recipe.flip and random.random() < 0.5,
            scale=low * (high / low) ** scale,
            degrees=self.recipe.degrees * (2 * turn - 1),
            shares=(down, across),
        )

    def place(self, working: Working, random: np.random.Generator) -> Placed:
        """Image, mask and placement of one item, of a working picture, with random numbers of ``random``."""
        if self.recipe.scale == (1.0, 1.0) and not self.recipe.degrees:
            return self._letterbox.place(working)
        return place(working.image, working.mask, working.origin, self.size, self.draw(random))

    def texture(self, image: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
        """(3, N, N) uint8, now and then blurred or with noise."""
        recipe = self.recipe
        blurs, noises, sigma = random.random(3).tolist()
        if blurs < recipe.blur:
            low, high = _BLUR_SIGMAS
            image = F.gaussian_blur_image(image, [_BLUR_PIXELS] * 2, [low + (high - low) * sigma])
        if noises < recipe.noise:
            noise = random.standard_normal(image.shape, dtype=np.float32) * np.float32(_NOISE_LEVELS)
            noisy = np.rint(image.numpy() + noise).clip(0, 255)
            image = torch.from_numpy(noisy.astype(np.uint8))
        return image

    def colour(self, random: np.random.Generator) -> torch.Tensor | None:
        """(3, 4) float32 for ``apply_colour``, or nothing where colours stay."""
        return None if self.recipe.colour is None else self.recipe.colour.draw(random)


def build_transform(kind: str, size: int) -> Augmentation:
    """The training augmentation with (size, size) outputs.

    none: letterbox only. light: flip, scale 0.75 to 1.5 with a random crop, mild colour. heavy: scale 0.5 to 2,
    rotation up to 15 degrees, strong colour, now and then grey, blur and noise.

    Raises ``SnowmeltError`` for another kind or a size below 1.
    """
    if kind not in RECIPES:
        raise SnowmeltError(
            f"augmentation {kind!r} is not known; choose one of {', '.join(AUGMENTATIONS)}", code="settings-value"
        )
    return Augmentation(RECIPES[kind], size)


def build_evaluation_transform(size: int) -> Letterbox:
    """No randomness: the letterbox, the same as kind "none"."""
    return Letterbox(size)


def _writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy where it is read-only (a stored one): torch warns of memory that it may not write to."""
    return array if array.flags.writeable else np.array(array)
