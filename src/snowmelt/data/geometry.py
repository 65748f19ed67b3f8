"""Where the pixels of an augmented picture come from: the affine map back to its source, exactly.

Points are (x, y) in pixels, counted from the outer corner of the top left pixel, so its centre is (0.5, 0.5) and a
picture of width W reaches from 0 to W. Normalised, the picture reaches from -1 to 1: the convention of
``torch.nn.functional.affine_grid`` and ``grid_sample`` with ``align_corners=False``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

Affine = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): (x, y) goes to (a x + b y + c, d x + e y + f)."""

Shape = tuple[int, int]  # (height, width)


def fitted_size(height: int, width: int, long_side: float) -> tuple[int, int]:
    """(height, width) with the long side given and the aspect kept, at least one pixel each."""
    scale = long_side / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True)
class Placement:
    """From the points of a (size, size) output to those of the picture that it was made from.

    ``shape``: of that picture, which may itself be a reduced one; ``origin``: of the picture before it was reduced.
    """

    affine: Affine
    size: int
    shape: Shape
    origin: Shape

    def theta(self, side: int | None = None) -> torch.Tensor:
        """(2, 3) float32 for ``affine_grid``: from the output's normalised points to those of the picture.

        ``side``: to those of a square of that many pixels, at whose top left the picture lies, resized to
        ``fitted_size`` of its origin. That is how ``Letterbox`` places pictures and a ``MapStore`` its maps.
        """
        fitted = (1.0, 1.0)  # the share of the square that the picture fills
        if side is not None:
            pixels = fitted_size(*self.origin, side)
            fitted = (pixels[0] / side, pixels[1] / side)
        a, b, c, d, e, f = self.affine
        across, down = fitted[1] / self.shape[1], fitted[0] / self.shape[0]
        return torch.tensor(
            [
                [a * self.size * across, b * self.size * across, ((a + b) * self.size + 2 * c) * across - 1],
                [d * self.size * down, e * self.size * down, ((d + e) * self.size + 2 * f) * down - 1],
            ],
            dtype=torch.float32,
        )


def letterbox_placement(shape: Shape, origin: Shape, size: int) -> Placement:
    """Of a whole picture, resized to ``fitted_size`` of its origin, at the top left of the output."""
    height, width = fitted_size(*origin, size)
    return Placement((shape[1] / width, 0.0, 0.0, 0.0, shape[0] / height, 0.0), size, shape, origin)
