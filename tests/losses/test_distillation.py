"""The KL against closed forms, a second implementation and the traps that others fell into."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import distillation_kl, logit_mse

LOSSES = pytest.mark.parametrize("loss", [distillation_kl, logit_mse])


def logits(seed: int, channels: int, batch: int = 2, height: int = 3, width: int = 5, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64) * scale


def naive_kl(student: Tensor, teacher: Tensor, temperature: float, valid: Tensor) -> float:
    """Pixel by pixel from probabilities, the textbook way."""
    total, count = 0.0, 0
    for b in range(student.shape[0]):
        for y in range(student.shape[2]):
            for x in range(student.shape[3]):
                if not valid[b, y, x]:
                    continue
                count += 1
                s, t = student[b, :, y, x].tolist(), teacher[b, :, y, x].tolist()
                if len(s) == 1:
                    s, t = [0.0, *s], [0.0, *t]
                q = [math.exp(v / temperature) for v in s]
                p = [math.exp(v / temperature) for v in t]
                total += sum(pi / sum(p) * math.log((pi / sum(p)) / (qi / sum(q))) for pi, qi in zip(p, q, strict=True))
    return temperature**2 * total / count


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_equals_the_textbook(channels: int, temperature: float) -> None:
    student, teacher = logits(0, channels), logits(1, channels)
    valid = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(2)) > 0.3
    value = distillation_kl(student, teacher, temperature, valid)
    assert value.item() == pytest.approx(naive_kl(student, teacher, temperature, valid), rel=1e-12)


def test_equals_torch_kl_div_per_pixel() -> None:
    student, teacher = logits(0, 4), logits(1, 4)
    rows = [x.permute(0, 2, 3, 1).reshape(-1, 4) / 2.0 for x in (student, teacher)]
    expected = 4.0 * F.kl_div(rows[0].log_softmax(1), rows[1].log_softmax(1), log_target=True, reduction="batchmean")
    assert torch.allclose(distillation_kl(student, teacher, 2.0), expected)


def test_golden_values() -> None:
    # p = 3/4 against q = 1/2: 0.75 log 1.5 + 0.25 log 0.5
    student, teacher = torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), math.log(3.0))
    golden = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(golden, rel=1e-6)
    assert distillation_kl(student, 2 * teacher, 2.0).item() == pytest.approx(4 * golden, rel=1e-6)
    # p = (1/2, 1/4, 1/4) against the uniform q: log 3 - 1.5 log 2
    teacher = torch.tensor([math.log(2.0), 0.0, 0.0]).view(1, 3, 1, 1)
    assert distillation_kl(torch.zeros(1, 3, 1, 1), teacher, 1.0).item() == pytest.approx(
        math.log(3) - 1.5 * math.log(2), rel=1e-6
    )
    assert logit_mse(torch.zeros(1, 2, 1, 1), torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)).item() == 5.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), temperature=st.floats(0.3, 10.0))
def test_bernoulli_is_the_categorical_of_two_classes(seed: int, temperature: float) -> None:
    student, teacher = logits(seed, 1), logits(seed + 1, 1)
    one = distillation_kl(student, teacher, temperature)
    two = distillation_kl(
        torch.cat([torch.zeros_like(student), student], 1),
        torch.cat([torch.zeros_like(teacher), teacher], 1),
        temperature,
    )
    assert torch.allclose(one, two, rtol=1e-9, atol=1e-12)
    assert one >= 0


def test_one_channel_is_not_a_softmax_over_itself() -> None:
    assert distillation_kl(logits(0, 1), logits(1, 1)) > 0.1


def test_distribution_is_over_channels_not_over_the_width() -> None:
    student, teacher = logits(0, 3), logits(1, 3)
    pixel = torch.zeros(2, 1, 3, 5, dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(3))
    shifted = distillation_kl(student + 10 * pixel, teacher, 2.0)  # one constant per pixel changes no distribution
    assert torch.allclose(shifted, distillation_kl(student, teacher, 2.0))


def test_mean_over_pixels_not_over_the_batch() -> None:
    student, teacher = logits(0, 3), logits(1, 3)
    tiled = distillation_kl(student.repeat(1, 1, 4, 4), teacher.repeat(1, 1, 4, 4))
    assert torch.allclose(tiled, distillation_kl(student, teacher))


@pytest.mark.parametrize("channels", [1, 3])
def test_gradient_keeps_its_size_when_the_temperature_changes(channels: int) -> None:
    sizes = []
    for temperature in (50.0, 100.0):
        student = logits(0, channels, scale=0.5).requires_grad_()
        distillation_kl(student, logits(1, channels, scale=0.5), temperature).backward()
        sizes.append(student.grad.norm().item())
    assert sizes[1] == pytest.approx(sizes[0], rel=0.02)  # without T^2 the ratio is 4


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck(loss, channels: int) -> None:
    student, teacher = logits(0, channels, 1, 2, 2).requires_grad_(), logits(1, channels, 1, 2, 2)
    valid = torch.tensor([[[True, False], [True, True]]])
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher, valid=valid), (student,))


@LOSSES
def test_no_gradient_reaches_the_teacher(loss) -> None:
    student, teacher = logits(0, 1).requires_grad_(), logits(1, 1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None and student.grad is not None


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_ignored_pixels_influence_nothing(loss, channels: int, garbage: float) -> None:
    valid = torch.ones(2, 3, 5, dtype=torch.bool)
    valid[0, 1, 2] = valid[1, 0, 0] = False
    results = []
    for filling in (0.3, garbage):
        student, teacher = logits(0, channels), logits(1, channels)
        for tensor in (student, teacher):
            tensor.masked_fill_(~valid.unsqueeze(1), filling)
        student.requires_grad_()
        value = loss(student, teacher, valid=valid)
        value.backward()
        results.append((value.detach(), student.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert (results[1][1].permute(0, 2, 3, 1)[~valid] == 0).all()


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_bad_logit_in_a_valid_pixel_is_not_hidden(loss, channels: int, which: int, bad: float) -> None:
    pair = [logits(0, channels), logits(1, channels)]
    pair[which][0, 0, 0, 0] = bad
    assert not torch.isfinite(loss(*pair))


@LOSSES
def test_no_valid_pixel_gives_zero_and_a_zero_gradient(loss) -> None:
    student = torch.full((1, 1, 2, 2), float("nan"), requires_grad=True)
    value = loss(student, torch.full((1, 1, 2, 2), float("nan")), valid=torch.zeros(1, 2, 2, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert torch.equal(student.grad, torch.zeros_like(student))


@LOSSES
@pytest.mark.parametrize("as_tensor", [False, True])
def test_micro_batches_add_up_to_the_whole_batch(loss, as_tensor: bool) -> None:
    student, teacher = logits(0, 3, batch=4), logits(1, 3, batch=4)
    valid = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(2)) > torch.tensor([0.1, 0.9, 0.5, 1.0]).view(
        4, 1, 1
    )
    divisor = valid.sum() if as_tensor else int(valid.sum())
    parts = [loss(student[i : i + 1], teacher[i : i + 1], valid=valid[i : i + 1], divisor=divisor) for i in range(4)]
    assert torch.allclose(sum(parts), loss(student, teacher, valid=valid))


@LOSSES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(loss, dtype: torch.dtype) -> None:
    student, teacher = logits(0, 3).to(dtype), logits(1, 3).to(dtype)
    exact = loss(student.double(), teacher.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(student, teacher)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_extreme_logits_stay_finite_in_float32() -> None:
    student, teacher = torch.full((1, 1, 1, 1), -300.0), torch.full((1, 1, 1, 1), 300.0)
    assert distillation_kl(student, teacher, 1.0).item() == pytest.approx(300.0)
    assert distillation_kl(teacher, teacher, 1.0).item() == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_temperature(temperature: float) -> None:
    with pytest.raises(SnowmeltError, match="temperature must be positive"):
        distillation_kl(logits(0, 1), logits(1, 1), temperature)


@LOSSES
def test_wrong_shapes(loss) -> None:
    with pytest.raises(SnowmeltError, match="of one shape"):
        loss(logits(0, 1), logits(1, 2))
    with pytest.raises(SnowmeltError, match="of one shape"):
        loss(logits(0, 1)[0], logits(1, 1)[0])
    with pytest.raises(SnowmeltError, match="valid must be a bool mask"):
        loss(logits(0, 1), logits(1, 1), valid=torch.ones(2, 1, 3, 5, dtype=torch.bool))
    with pytest.raises(SnowmeltError, match="valid must be a bool mask"):
        loss(logits(0, 1), logits(1, 1), valid=torch.ones(2, 3, 5))
