"""Standardised logits, and the KL between them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import distillation_kl, standardise_logits, standardised_kl


def maps(seed: int, channels: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, channels, 3, 4, generator=generator, dtype=torch.float64) * 3
    return student, teacher, torch.rand(2, 3, 4, generator=generator) > 0.3


def test_equals_numpy() -> None:
    student, _, _ = maps(0)
    values = student.numpy()
    expected = (values - values.mean(1, keepdims=True)) / (values.std(1, keepdims=True) + 1e-6)
    assert np.allclose(standardise_logits(student).numpy(), expected, rtol=1e-12)


def test_golden_value() -> None:
    logits = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)  # variance 2/3
    assert standardise_logits(logits).flatten().tolist() == pytest.approx([-math.sqrt(1.5), 0.0, math.sqrt(1.5)], 1e-5)
    assert standardise_logits(torch.full((1, 3, 1, 1), 7.0)).flatten().tolist() == [0.0, 0.0, 0.0]


def test_the_kl_is_that_of_the_standardised() -> None:
    student, teacher, valid = maps(1)
    expected = distillation_kl(standardise_logits(student), standardise_logits(teacher), 2.0, valid)
    assert torch.allclose(standardised_kl(student, teacher, 2.0, valid), expected, rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 20.0), shift=st.floats(-20.0, 20.0))
def test_scale_and_shift_of_a_pixels_logits_change_nothing(seed: int, scale: float, shift: float) -> None:
    student, teacher, valid = maps(seed)
    mapped = standardised_kl(student * scale + shift, teacher, 2.0, valid)
    assert torch.allclose(mapped, standardised_kl(student, teacher, 2.0, valid), rtol=1e-3, atol=1e-6)
    proportional = standardised_kl(teacher * scale + shift, teacher, 2.0, valid)
    assert proportional.item() == pytest.approx(0.0, abs=1e-8)


def test_scale_of_each_pixel_is_its_own() -> None:
    student, teacher, valid = maps(0)
    scale = 0.5 + torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mapped = standardised_kl(student * scale + scale, teacher, 2.0, valid)
    assert torch.allclose(mapped, standardised_kl(student, teacher, 2.0, valid), rtol=1e-4)


def test_gradcheck_and_half_precision() -> None:
    student, _, _ = maps(2, channels=3)
    assert torch.autograd.gradcheck(standardise_logits, (student[:1, :, :2, :2].clone().requires_grad_(),))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert standardise_logits(student.bfloat16()).dtype == torch.float32


def test_nan_stays_in_its_pixel() -> None:
    student, _, _ = maps(0)
    student[0, 1, 2, 3] = float("nan")
    bad = torch.isnan(standardise_logits(student)).all(dim=1)
    assert bad[0, 2, 3] and bad.sum() == 1


@pytest.mark.parametrize("shape", [(1, 2, 3, 3), (1, 1, 3, 3), (5, 3, 3)])
def test_refusals(shape: tuple[int, ...]) -> None:
    with pytest.raises(SnowmeltError, match="need at least 3 channels"):
        standardise_logits(torch.zeros(shape))
