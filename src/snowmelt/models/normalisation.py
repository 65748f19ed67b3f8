"""From uint8 images to what an encoder was pretrained on. Student and teacher may differ here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import timm
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.models.networks import check_encoder, timm_name_of

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation per RGB channel of images scaled to [0, 1]."""

    mean: RGB = (0.485, 0.456, 0.406)
    std: RGB = (0.229, 0.224, 0.225)


IMAGENET = Normalisation()
_HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_DPN = Normalisation((124 / 255, 117 / 255, 104 / 255), (1 / (0.0167 * 255),) * 3)

# smp keeps these beside its weights on the hub, where an offline run cannot read them; they are facts of
# training recipes that are years old. Prefixes of smp names; all others were trained with ImageNet's values.
_BY_PREFIX = {"inceptionv4": _HALF, "inceptionresnetv2": _HALF, "xception": _HALF, "dpn": _DPN}


def normalisation_of(encoder_name: str) -> Normalisation:
    """The normalisation that the encoder's ImageNet weights expect, found without network access.

    ImageNet's mean and deviation where nothing else is known.
    Errors: SnowmeltError for an unknown encoder.
    """
    check_encoder(encoder_name)
    for prefix, normalisation in _BY_PREFIX.items():
        if encoder_name.startswith(prefix):
            return normalisation
    timm_name = timm_name_of(encoder_name) or encoder_name.removeprefix("timm-")
    if encoder_name.startswith(("tu-", "timm-")) and timm.is_model(timm_name.split(".")[0]):
        config = timm.get_pretrained_cfg(timm_name)
        if config is not None and config.mean and config.std and len(config.mean) == 3:
            return Normalisation(_rgb(config.mean), _rgb(config.std))
    return IMAGENET


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = values
    return red, green, blue


def normalise(images: Tensor, normalisation: Normalisation, dtype: torch.dtype = torch.float32) -> Tensor:
    """(B, 3, H, W) uint8 to ``dtype``, computed in float32 on the images' device.

    Errors: SnowmeltError unless the images are uint8 with three channels.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise SnowmeltError(
            f"images must be uint8 (B, 3, H, W), but are {images.dtype} {tuple(images.shape)}", code="array-shape"
        )
    scale, shift = _scale_and_shift(normalisation, images.device)
    return (images.to(torch.float32) * scale + shift).to(dtype)


@lru_cache(maxsize=16)  # a step must not copy constants to the device again
def _scale_and_shift(normalisation: Normalisation, device: torch.device) -> tuple[Tensor, Tensor]:
    mean = torch.tensor(normalisation.mean, dtype=torch.float64).view(1, 3, 1, 1)
    std = torch.tensor(normalisation.std, dtype=torch.float64).view(1, 3, 1, 1)
    return (1 / (255 * std)).float().to(device), (-mean / std).float().to(device)
