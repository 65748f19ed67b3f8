"""uint8 in, what the encoder was pretrained on out."""

from __future__ import annotations

import pytest
import torch

from snowmelt.errors import SnowmeltError
from snowmelt.models import Normalisation, normalisation_of, normalise

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("encoder", "expected"),
    [
        ("timm-efficientnet-b0", IMAGENET),
        ("tu-tf_efficientnet_b4", IMAGENET),
        ("tu-mobilenetv2_100", IMAGENET),
        ("resnet18", IMAGENET),
        ("mit_b0", IMAGENET),
        ("tu-vit_tiny_patch16_224", HALF),
        ("timm-mobilenetv3_large_100", HALF),  # smp builds timm's tf_mobilenetv3_large_100 under this name
        ("timm-tf_efficientnet_lite0", HALF),
        ("xception", HALF),
    ],
)
def test_normalisation_is_known_offline(encoder: str, expected: Normalisation) -> None:
    assert normalisation_of(encoder) == expected


def test_dpn_has_values_of_its_own() -> None:
    assert normalisation_of("dpn68").std[0] == pytest.approx(0.2348, abs=1e-4)


def test_unknown_encoder() -> None:
    with pytest.raises(SnowmeltError, match="did you mean 'resnet18'"):
        normalisation_of("resnet118")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_normalise(dtype: torch.dtype) -> None:
    images = torch.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5).to(torch.uint8)
    mean, std = (torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    expected = (images.double() / 255 - mean) / std
    result = normalise(images, IMAGENET, dtype)
    assert result.dtype == dtype
    torch.testing.assert_close(result, expected.to(dtype), rtol=1e-5 if dtype == torch.float32 else 1e-2, atol=1e-5)


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 2, 2), torch.zeros(3, 2, 2, dtype=torch.uint8)])
def test_only_batches_of_bytes(images: torch.Tensor) -> None:
    with pytest.raises(SnowmeltError, match="images must be uint8"):
        normalise(images, IMAGENET)
