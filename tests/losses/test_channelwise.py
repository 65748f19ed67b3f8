"""Channel-wise distillation against the formula of the paper, one position at a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.losses import channel_wise_distillation


def maps(seed: int, channels: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, channels, 3, 5, generator=generator, dtype=torch.float64) * 3
    return student, teacher, torch.rand(2, 3, 5, generator=generator) > 0.3


def slow(student: Tensor, teacher: Tensor, temperature: float, valid: Tensor) -> float:
    per_image = []
    for s, t, v in zip(student.numpy(), teacher.numpy(), valid.numpy(), strict=True):
        total = 0.0
        for ours, theirs in zip(s, t, strict=True):
            q = np.exp(ours[v] / temperature) / np.exp(ours[v] / temperature).sum()
            p = np.exp(theirs[v] / temperature) / np.exp(theirs[v] / temperature).sum()
            total += float((p * np.log(p / q)).sum())
        per_image.append(temperature**2 / len(s) * total)
    return float(np.mean(per_image))


@pytest.mark.parametrize("channels", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_equals_the_paper(channels: int, temperature: float) -> None:
    student, teacher, valid = maps(channels, channels)
    value = channel_wise_distillation(student, teacher, temperature, valid)
    assert value.item() == pytest.approx(slow(student, teacher, temperature, valid), rel=1e-12)
    everything = channel_wise_distillation(student, teacher, temperature)
    assert everything.item() == pytest.approx(slow(student, teacher, temperature, valid | True), rel=1e-12)


def test_golden_value() -> None:
    # Over four positions the teacher holds (1/2, 1/6, 1/6, 1/6), the student 1/4 each; the fifth is not valid.
    teacher = torch.tensor([math.log(3.0), 0.0, 0.0, 0.0, 50.0]).view(1, 1, 1, 5)
    valid = torch.tensor([True, True, True, True, False]).view(1, 1, 5)
    golden = 0.5 * math.log(2.0) + 0.5 * math.log(4 / 6)
    zeros = torch.zeros_like(teacher)
    assert channel_wise_distillation(zeros, teacher, 1.0, valid).item() == pytest.approx(golden, rel=1e-6)
    assert channel_wise_distillation(zeros, 2 * teacher, 2.0, valid).item() == pytest.approx(4 * golden, rel=1e-6)
    # A second channel on which both agree halves the mean over channels.
    pair = torch.cat([teacher, zeros], 1)
    value = channel_wise_distillation(torch.zeros_like(pair), pair, 1.0, valid)
    assert value.item() == pytest.approx(golden / 2, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50))
def test_a_constant_added_to_a_channel_changes_nothing(seed: int, shift: float) -> None:
    student, teacher, valid = maps(seed)
    shifts = shift * torch.tensor([1.0, -0.5, 0.0], dtype=torch.float64).view(1, 3, 1, 1)
    moved = channel_wise_distillation(student + shifts, teacher - 2 * shifts, 2.0, valid)
    assert torch.allclose(moved, channel_wise_distillation(student, teacher, 2.0, valid), rtol=1e-9)
    assert moved >= 0


def test_order_of_positions_and_channels_means_nothing() -> None:
    student, teacher, valid = maps(0)
    expected = channel_wise_distillation(student, teacher, 2.0, valid)
    turned = channel_wise_distillation(student.flip(1, 2, 3), teacher.flip(1, 2, 3), 2.0, valid.flip(1, 2))
    assert torch.allclose(turned, expected)
    channels_last = [x.to(memory_format=torch.channels_last) for x in (student, teacher)]
    assert torch.allclose(channel_wise_distillation(*channels_last, 2.0, valid), expected)


@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
@pytest.mark.parametrize("which", [0, 1])
def test_infinity_in_a_valid_pixel_is_not_hidden(bad: float, which: int) -> None:
    *pair, valid = maps(0)
    valid[0, 0, 0] = True
    pair[which][0, 0, 0, 0] = bad
    assert not torch.isfinite(channel_wise_distillation(*pair, 2.0, valid))


def test_extreme_logits_stay_finite_in_float32() -> None:
    student, teacher, valid = maps(0)
    student = (student * 1e4).float().requires_grad_()
    value = channel_wise_distillation(student, (teacher * 1e4).float(), 1.0, valid)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(student.grad).all()
