"""Networks whose properties are known: what they see of their surroundings, and that mirroring commutes with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from snowmelt.inference import Fit, Picture, Prediction, Predictor

Network = Callable[[Tensor], Tensor]


def convolving(channels: int = 3, size: int = 3, symmetric: bool = False, seed: int = 0) -> Network:
    """One convolution, padded with zeros as networks do: translation-equivariant where it sees no edge."""
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(channels, 3, size, size, generator=random)
    if symmetric:
        weight = weight + weight.flip(3)
    shift = torch.randn(channels, generator=random)

    def ask(images: Tensor) -> Tensor:
        return F.conv2d(images.float() / 255 - 0.5, weight, shift, padding=size // 2)

    return ask


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise: nothing in it repeats, so whatever lies in a wrong place shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def predict_one(
    image: np.ndarray, network: Network, fit: Fit, channels: int = 3, flip: bool = False, batch_size: int = 4
) -> Prediction:
    predictor = Predictor(network, channels, fit, flip=flip, probabilities=True, batch_size=batch_size)
    [prediction] = predictor.predict([Picture(image)])
    return prediction
