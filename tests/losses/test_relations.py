"""DIST against numpy's correlation coefficients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.losses import dist_inter, dist_intra


def maps(seed: int, channels: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 2, channels, 3, 5, generator=generator, dtype=torch.float64) * 2
    valid = torch.rand(2, 3, 5, generator=generator) > 0.3
    valid[:, 0, :3] = True
    return student, teacher, valid


def soften(logits: Tensor, temperature: float) -> np.ndarray:
    values = logits.numpy() / temperature
    if values.shape[1] == 1:
        return 1 / (1 + np.exp(-values))
    return np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)


def slow_inter(student: Tensor, teacher: Tensor, temperature: float, valid: Tensor) -> float:
    q, p = soften(student, temperature), soften(teacher, temperature)
    distances = [1 - np.corrcoef(q[b, :, y, x], p[b, :, y, x])[0, 1] for b, y, x in np.argwhere(valid.numpy())]
    return temperature**2 * float(np.mean(distances))


def slow_intra(student: Tensor, teacher: Tensor, temperature: float, valid: Tensor) -> float:
    q, p = soften(student, temperature), soften(teacher, temperature)
    images = [
        np.mean([1 - np.corrcoef(q[b, c][v], p[b, c][v])[0, 1] for c in range(q.shape[1])])
        for b, v in enumerate(valid.numpy())
    ]
    return temperature**2 * float(np.mean(images))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_equals_numpy(channels: int, temperature: float) -> None:
    student, teacher, valid = maps(channels, channels)
    for mask in (valid, valid | True):
        value = dist_intra(student, teacher, temperature, mask)
        assert value.item() == pytest.approx(slow_intra(student, teacher, temperature, mask), rel=1e-9)
        if channels > 2:
            value = dist_inter(student, teacher, temperature, mask)
            assert value.item() == pytest.approx(slow_inter(student, teacher, temperature, mask), rel=1e-9)


def test_golden_values() -> None:
    # Probabilities (2, 1, 1) / 4 and (1, 1, 2) / 4 deviate as (2, -1, -1) and (-1, -1, 2): correlation -1/2.
    student = torch.tensor([2.0, 1.0, 1.0]).log().view(1, 3, 1, 1)
    teacher = torch.tensor([1.0, 1.0, 2.0]).log().view(1, 3, 1, 1)
    assert dist_inter(student, teacher, 1.0).item() == pytest.approx(1.5, rel=1e-5)
    assert dist_inter(2 * student, 2 * teacher, 2.0).item() == pytest.approx(6.0, rel=1e-5)
    # Sigmoids 1/5, 1/2, 4/5 of one channel, and the same the other way round: correlation -1.
    ramp = torch.tensor([0.25, 1.0, 4.0]).log().view(1, 1, 1, 3)
    assert dist_intra(ramp, -ramp, 1.0).item() == pytest.approx(2.0, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.05, 1.0), shift=st.floats(0.0, 1.0))
def test_stretched_and_shifted_probabilities_are_as_good(seed: int, scale: float, shift: float) -> None:
    student, teacher, valid = maps(seed)
    p = torch.softmax(teacher, dim=1)
    mapped = scale * p + (1 - scale) / 4  # over classes: sums to 1 again
    expected = dist_inter(student, teacher, 1.0, valid)
    assert torch.allclose(dist_inter(student, mapped.log(), 1.0, valid), expected, rtol=1e-6)
    one, other = student[:, :1], teacher[:, :1]
    mapped = 0.9 * scale * torch.sigmoid(other) + 0.1 * shift
    expected = dist_intra(one, other, 1.0, valid)
    assert torch.allclose(dist_intra(one, torch.logit(mapped), 1.0, valid), expected, rtol=1e-6)
    assert 0 <= expected <= 2


def test_images_are_correlated_each_alone() -> None:
    student, teacher, valid = maps(0)
    singly = [dist_intra(student[i : i + 1], teacher[i : i + 1], 1.0, valid[i : i + 1]) for i in range(2)]
    assert torch.allclose(dist_intra(student, teacher, 1.0, valid), sum(singly) / 2)


def test_a_constant_counts_as_uncorrelated_without_a_gradient() -> None:
    _, teacher, valid = maps(0)
    for loss in (dist_inter, dist_intra):
        student = torch.full_like(teacher, 0.7, dtype=torch.float32).requires_grad_()
        value = loss(student, teacher.float(), 2.0, valid)
        value.backward()
        assert value.item() == pytest.approx(4.0) and not student.grad.any()


@pytest.mark.parametrize("scale", [1e-4, 1e-3, 50.0])
def test_float32_holds_for_faint_and_for_sure_maps(scale: float) -> None:
    student, teacher, valid = maps(1)
    student, teacher = student * scale, teacher * scale
    for loss in (dist_inter, dist_intra):
        single = student.float().requires_grad_()
        value = loss(single, teacher.float(), 1.0, valid)
        value.backward()
        assert value.item() == pytest.approx(loss(student, teacher, 1.0, valid).item(), rel=2e-2)
        assert torch.isfinite(single.grad).all()
