"""Feature matching against numpy, at sizes other than the picture's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import FeatureProjection, feature_matching


def maps(seed: int = 0, channels: int = 6, size: tuple[int, int] = (2, 3)) -> tuple[Tensor, Tensor, Tensor]:
    """Features of 1/4 of the picture's size."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, channels, *size, generator=generator, dtype=torch.float64)
    valid = torch.rand(3, 4 * size[0], 4 * size[1], generator=generator) > 0.4
    valid[0, :4, :4] = False  # a cell without a valid pixel
    valid[2] = False
    return student, teacher, valid


def slow(student: Tensor, teacher: Tensor, valid: Tensor) -> float:
    """Pixel by pixel of the picture: each looks up the cell that it lies in."""
    s, t, total = student.numpy(), teacher.numpy(), 0.0
    for b, y, x in np.argwhere(valid.numpy()):
        ours, theirs = s[b, :, y // 4, x // 4], t[b, :, y // 4, x // 4]
        total += 1 - float(ours @ theirs) / float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    return total / int(valid.sum())


def test_equals_a_walk_over_the_pixels() -> None:
    student, teacher, valid = maps()
    assert feature_matching(student, teacher, valid).item() == pytest.approx(slow(student, teacher, valid), rel=1e-12)
    everything = torch.ones_like(valid)
    assert feature_matching(student, teacher).item() == pytest.approx(slow(student, teacher, everything), rel=1e-12)


def test_golden_values_and_the_distance_of_unit_vectors() -> None:
    student = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    teacher = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    assert feature_matching(student, teacher).item() == pytest.approx(0.4)
    assert feature_matching(-teacher, teacher).item() == pytest.approx(2.0)
    ours, theirs, _ = maps(3)
    half = 0.5 * (F.normalize(ours) - F.normalize(theirs)).square().sum(dim=1).mean()
    assert torch.allclose(feature_matching(ours, theirs), half)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e4))
def test_scale_changes_nothing(seed: int, scale: float) -> None:
    student, teacher, valid = maps(seed)
    expected = feature_matching(student, teacher, valid)
    assert torch.allclose(feature_matching(student * scale, teacher / scale, valid), expected, rtol=1e-9)
    rotation = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    turned = [torch.einsum("ij,bjhw->bihw", rotation, x) for x in (student, teacher)]
    assert torch.allclose(feature_matching(*turned, valid), expected, rtol=1e-9)


def test_the_teacher_is_brought_to_the_students_size() -> None:
    student, _, valid = maps()
    teacher = maps(5, size=(4, 6))[1]
    resized = F.interpolate(teacher, (2, 3), mode="bilinear", align_corners=False)
    assert torch.allclose(feature_matching(student, teacher), feature_matching(student, resized))
    assert torch.isfinite(feature_matching(student, teacher, valid))


@pytest.mark.parametrize("size", [(4, 6), (2, 3), (1, 3), (3, 5)])
def test_cells_without_valid_pixels_do_not_leak_through_resizing(size: tuple[int, int]) -> None:
    valid = torch.ones(3, 8, 12, dtype=torch.bool)
    valid[:, :, 4:] = False
    valid[2] = False
    results = []
    for garbage in (0.0, float("nan")):
        student, teacher = maps()[0], maps(5, size=size)[1]
        student[:, :, :, 1:] = garbage
        for cell in range(size[1]):
            if cell * 12 // size[1] >= 4:
                teacher[:, :, :, cell] = garbage
        student[2], teacher[2] = garbage, garbage
        student.requires_grad_()
        value = feature_matching(student, teacher, valid)
        value.backward()
        results.append((value.detach(), student.grad))
    assert torch.isfinite(results[1][0]) and results[1][0] > 0
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


def test_nan_in_a_cell_with_one_valid_pixel_is_not_hidden() -> None:
    for which in (0, 1):
        *pair, valid = maps()
        valid[2, 0, 0] = True
        pair[which][2, 0, 0, 0] = float("nan")
        assert torch.isnan(feature_matching(*pair, valid))


def test_micro_batches_add_up_by_the_pixels_of_the_picture() -> None:
    student, teacher, valid = maps()
    parts = [feature_matching(student[i : i + 1], teacher[i : i + 1], valid[i : i + 1], valid.sum()) for i in range(3)]
    assert torch.allclose(sum(parts), feature_matching(student, teacher, valid))


def test_a_vector_of_length_zero_has_no_direction() -> None:
    _, teacher, _ = maps()
    student = torch.zeros_like(teacher).requires_grad_()
    value = feature_matching(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(1.0) and not student.grad.any()
    assert feature_matching(teacher, torch.zeros_like(teacher)).item() == pytest.approx(1.0)


def test_a_projection_learns_to_match() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 5, 4, 4)
    projection = FeatureProjection(3, 5)
    assert [tuple(p.shape) for p in projection.parameters()] == [(5, 3, 1, 1)]
    optimizer = torch.optim.Adam(projection.parameters(), lr=0.05)
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = feature_matching(projection(student), teacher)
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.8 * values[0]
    assert torch.allclose(
        projection(student),
        torch.einsum("oi,bihw->bohw", projection.convolution.weight[:, :, 0, 0], student),
        atol=1e-5,
    )


def test_channels_must_agree() -> None:
    with pytest.raises(SnowmeltError, match="project the student's first"):
        feature_matching(torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2))
