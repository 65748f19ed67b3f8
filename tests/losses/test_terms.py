"""What every distillation term promises, whatever it compares; and the register of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import DISTILLATION_TERMS, Term, standardised_kl
from snowmelt.losses.terms import find_term

TERMS = {**DISTILLATION_TERMS, "standardised kl": Term(standardised_kl, least_channels=3)}
EVERY = pytest.mark.parametrize(
    ("name", "channels"),
    [(name, channels) for name, term in TERMS.items() for channels in (1, 2, 4) if channels >= term.least_channels],
)


def example(channels: int, batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Two maps and a mask of unequal counts, in float64; the third image has no valid pixel."""
    generator = torch.Generator().manual_seed(channels)
    student, teacher = torch.randn(2, batch, channels, 4, 6, generator=generator, dtype=torch.float64) * 2
    valid = torch.rand(batch, 4, 6, generator=generator) > 0.3
    valid[1, :3] = False
    valid[1, 3, 0] = valid[1, 3, 4] = True
    valid[2:] = False
    return student, teacher, valid


def call(name: str, student: Tensor, teacher: Tensor, valid: Tensor | None, divisor=None) -> Tensor:
    return TERMS[name].loss(student, teacher, temperature=2.0, valid=valid, divisor=divisor)


def whole_count(name: str, valid: Tensor) -> int:
    return int(valid.sum()) if TERMS[name].unit == "pixels" else len(valid)


@EVERY
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_what_is_not_valid_influences_nothing(name: str, channels: int, garbage: float) -> None:
    results = []
    for filling in (0.3, garbage):
        student, teacher, valid = example(channels)
        for tensor in (student, teacher):
            tensor.masked_fill_(~valid.unsqueeze(1), filling)
        student.requires_grad_()
        value = call(name, student, teacher, valid)
        value.backward()
        results.append((value.detach(), student.grad))
    assert torch.isfinite(results[0][0]) and results[0][0] > 0
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert (results[1][1].permute(0, 2, 3, 1)[~valid] == 0).all()
    assert torch.isfinite(results[1][1]).all() and (channels == 1 or results[1][1].any())


@EVERY
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("masked", [True, False])
def test_nan_in_a_valid_pixel_is_not_hidden(name: str, channels: int, which: int, masked: bool) -> None:
    *pair, valid = example(channels)
    valid[0, 0, 0] = True
    pair[which][0, -1, 0, 0] = float("nan")
    assert not torch.isfinite(call(name, *pair, valid if masked else None))


@EVERY
def test_nothing_valid_gives_zero_and_a_zero_gradient(name: str, channels: int) -> None:
    student = torch.full((2, channels, 2, 2), float("nan"), requires_grad=True)
    value = call(name, student, torch.full((2, channels, 2, 2), float("nan")), torch.zeros(2, 2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0 and torch.equal(student.grad, torch.zeros_like(student))


@EVERY
@pytest.mark.parametrize("as_tensor", [False, True])
def test_micro_batches_add_up_in_value_and_gradient(name: str, channels: int, as_tensor: bool) -> None:
    student, teacher, valid = example(channels)
    whole, cut = student.clone().requires_grad_(), student.clone().requires_grad_()
    expected = call(name, whole, teacher, valid)
    expected.backward()
    divisor: int | Tensor = whole_count(name, valid)
    parts = [slice(0, 1), slice(1, 3)]
    values = [call(name, cut[p], teacher[p], valid[p], torch.tensor(divisor) if as_tensor else divisor) for p in parts]
    sum(values).backward()
    assert torch.allclose(sum(values), expected, rtol=1e-12)
    assert torch.allclose(cut.grad, whole.grad, rtol=1e-9, atol=1e-15)
    cut_singly = [call(name, student[p], teacher[p], valid[p]) for p in parts]  # the mask alone does not add up
    assert not torch.allclose(sum(cut_singly), expected)


@EVERY
def test_no_mask_is_a_mask_of_all(name: str, channels: int) -> None:
    student, teacher, valid = example(channels)
    full = call(name, student, teacher, torch.ones_like(valid))
    assert torch.allclose(call(name, student, teacher, None), full, rtol=1e-12)


@EVERY
def test_gradcheck(name: str, channels: int) -> None:
    student, teacher, valid = example(channels, batch=2)
    student, teacher, valid = student[:, :, :3, :2], teacher[:, :, :3, :2], valid[:, :3, :2].clone()
    valid[1, 0, 0] = True
    student = student.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: call(name, s, teacher, valid), (student,))


@EVERY
def test_no_gradient_reaches_the_teacher(name: str, channels: int) -> None:
    student, teacher, valid = example(channels)
    call(name, student.requires_grad_(), teacher.requires_grad_(), valid).backward()
    assert teacher.grad is None and student.grad is not None


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_single(name: str, channels: int, dtype: torch.dtype) -> None:
    student, teacher, valid = example(channels)
    student, teacher = student.to(dtype), teacher.to(dtype)
    exact = call(name, student.double(), teacher.double(), valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = call(name, student, teacher, valid)
    assert value.dtype == torch.float32 and exact.dtype == torch.float64
    assert value.item() == pytest.approx(exact.item(), rel=2e-5)


@EVERY
@pytest.mark.parametrize("student_level", [0.0, 0.7])
def test_constant_maps_have_a_finite_gradient(name: str, channels: int, student_level: float) -> None:
    _, teacher, valid = example(channels)
    for target in (teacher.float(), torch.full_like(teacher, 0.3).float()):
        student = torch.full_like(target, student_level).requires_grad_()
        value = call(name, student, target, valid)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()


@EVERY
def test_a_student_equal_to_its_teacher_pays_nothing(name: str, channels: int) -> None:
    student, _, valid = example(channels)
    student = student.requires_grad_()
    value = call(name, student, student.detach(), valid)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(student.grad, torch.zeros_like(student), atol=1e-12)


@EVERY
def test_what_cannot_be_compared(name: str, channels: int) -> None:
    student, teacher, valid = example(channels)
    with pytest.raises(SnowmeltError, match="must"):
        call(name, student[0], teacher[0], None)
    with pytest.raises(SnowmeltError, match="must"):
        call(name, student, teacher[:, :, :, :3] if name != "feature" else teacher[:2], valid)
    for wrong in (valid.unsqueeze(1), valid.float(), valid[:2]):
        with pytest.raises(SnowmeltError, match="valid must be a bool mask"):
            call(name, student, teacher, wrong)
    if name not in ("logit_mse", "feature"):
        for temperature in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(SnowmeltError, match="temperature must be positive"):
                TERMS[name].loss(student, teacher, temperature=temperature, valid=valid, divisor=None)


@pytest.mark.parametrize("name", [name for name, term in TERMS.items() if term.least_channels > 1])
@pytest.mark.parametrize("channels", [1, 2])
def test_too_few_channels_are_refused(name: str, channels: int) -> None:
    with pytest.raises(SnowmeltError, match=r"at least 3 channels.*use (dist_intra or kl|the kl as it is)"):
        call(name, *example(channels))


def test_the_register() -> None:
    assert list(DISTILLATION_TERMS) == ["kl", "logit_mse", "cwd", "dist_inter", "dist_intra", "feature"]
    assert {name for name, term in DISTILLATION_TERMS.items() if term.unit == "images"} == {"cwd", "dist_intra"}
    assert find_term("cwd") is DISTILLATION_TERMS["cwd"]
    with pytest.raises(SnowmeltError, match="did you mean 'dist_inter'"):
        find_term("dist_iner")


def test_terms_are_frozen() -> None:
    term: Callable = DISTILLATION_TERMS["kl"]  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        term.unit = "images"  # type: ignore[attr-defined]
