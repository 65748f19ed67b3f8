"""Cross-entropy and Dice against torch, by hand, and cut into micro-batches."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.losses import cross_entropy, dice

IGNORED = 255
LOSSES = pytest.mark.parametrize("loss", [cross_entropy, dice])


def example(channels: int, batch: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and uint8 labels; the images have unequal numbers of ignored pixels, the last nothing else."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, channels, 4, 6, generator=generator, dtype=torch.float64)
    target = torch.randint(0, max(2, channels), (batch, 4, 6), generator=generator).to(torch.uint8)
    share = torch.linspace(0, 1, batch).view(-1, 1, 1)
    target[torch.rand(batch, 4, 6, generator=generator) < share] = IGNORED
    return logits, target


def test_cross_entropy_equals_torch() -> None:
    logits, target = example(3)
    assert torch.allclose(cross_entropy(logits, target), F.cross_entropy(logits, target.long(), ignore_index=IGNORED))
    logits, target = example(1)
    valid = target != IGNORED
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][valid], target[valid].double())
    assert torch.allclose(cross_entropy(logits, target), expected)


@pytest.mark.parametrize("weights", [None, [1.0, 0.3, 2.0]])
def test_deterministic_algorithms_change_no_bit(weights: list[float] | None) -> None:
    """What stands in for the kernel that has no deterministic version on CUDA; a NaN comes through, too."""
    found = []
    for wanted in (False, True):
        logits, target = example(3)
        target[0] = 1  # an image without ignored pixels
        logits = logits.float().requires_grad_()
        torch.use_deterministic_algorithms(wanted)
        try:
            loss = cross_entropy(logits, target, class_weights=weights)
            loss.backward()
        finally:
            torch.use_deterministic_algorithms(False)
        broken = logits.detach().clone()
        broken[0, 0, 0, 0] = math.nan
        torch.use_deterministic_algorithms(wanted)
        try:
            lost = cross_entropy(broken, target, class_weights=weights)
        finally:
            torch.use_deterministic_algorithms(False)
        found.append((loss.detach(), logits.grad, lost.isnan()))
    assert torch.equal(found[0][0], found[1][0])
    assert found[0][1] is not None and found[1][1] is not None and torch.equal(found[0][1], found[1][1])
    assert found[0][2] and found[1][2]


def test_class_weights_scale_pixels_but_not_the_divisor() -> None:
    logits, target = example(3)
    weights = (0.5, 2.0, 4.0)
    total = F.cross_entropy(
        logits,
        target.long(),
        torch.tensor(weights, dtype=torch.float64),
        ignore_index=IGNORED,
        reduction="sum",
    )
    assert torch.allclose(cross_entropy(logits, target, class_weights=weights), total / (target != IGNORED).sum())
    # One channel with weights is the two-class problem (0, z) with the same weights.
    logits, target = example(1)
    two = torch.cat([torch.zeros_like(logits), logits], 1)
    for given in ((0.5, 3.0), torch.tensor([0.5, 3.0], dtype=torch.float64)):
        one = cross_entropy(logits, target, class_weights=given)
        assert torch.allclose(one, cross_entropy(two, target, class_weights=given))


def test_golden_values() -> None:
    logits = torch.tensor([[[[0.0, math.log(3.0)]]]])
    target = torch.tensor([[[0, 1]]])
    assert cross_entropy(logits, target).item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    # p = 1/2, 3/4: 2 * 0.75 + 1 over 1.25 + 1 + 1
    assert dice(logits, target).item() == pytest.approx(1 - 2.5 / 3.25)


def naive_dice(logits: Tensor, target: Tensor, smooth: float) -> float:
    losses = []
    for image, truth in zip(logits, target, strict=True):
        valid = truth != IGNORED
        if len(image) == 1:
            maps, labels = [image[0].sigmoid()], [1]
        else:
            labels = [c for c in range(len(image)) if (truth == c).any()]
            maps = [image.softmax(0)[c] for c in labels]
        scores = []
        for probability, label in zip(maps, labels, strict=True):
            p, t = probability[valid], (truth[valid] == label).double()
            scores.append(1 - ((2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)).item())
        losses.append(sum(scores) / len(scores) if scores else 0.0)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("smooth", [1.0, 0.01])
def test_dice_is_per_image_then_averaged(channels: int, smooth: float) -> None:
    logits, target = example(channels)
    assert dice(logits, target, smooth=smooth).item() == pytest.approx(naive_dice(logits, target, smooth))


def test_dice_of_a_batch_is_not_the_dice_of_its_joined_pixels() -> None:
    logits, target = example(1, batch=2, seed=3)
    target[0], target[1] = 1, 0
    joined = dice(logits.permute(1, 0, 2, 3).reshape(1, 1, 8, 6), target.reshape(1, 8, 6))
    assert abs(dice(logits, target) - joined) > 0.05


def test_absent_classes() -> None:
    absent = torch.zeros(1, 2, 2, dtype=torch.uint8)
    wrong = dice(torch.full((1, 1, 2, 2), 9.0), absent)
    right = dice(torch.full((1, 1, 2, 2), -9.0), absent)
    assert wrong > 0.7 and right < 0.01  # one channel: false positives in an empty image cost something
    logits = torch.zeros(1, 3, 2, 2)
    logits[:, 0] = 50.0
    assert dice(logits, absent).item() == pytest.approx(0.0, abs=1e-6)  # classes 1 and 2 are not held against it


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
def test_micro_batches_add_up_to_the_whole_batch(loss, channels: int) -> None:
    logits, target = example(channels)
    divisor = 4 if loss is dice else (target != IGNORED).sum()
    parts = [loss(logits[i : i + 1], target[i : i + 1], divisor=divisor) for i in range(4)]
    assert torch.allclose(sum(parts), loss(logits, target))


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_ignored_pixels_influence_nothing(loss, channels: int, garbage: float) -> None:
    results = []
    for filling in (0.3, garbage):
        logits, target = example(channels)
        logits.masked_fill_((target == IGNORED).unsqueeze(1), filling).requires_grad_()
        value = loss(logits, target)
        value.backward()
        results.append((value.detach(), logits.grad))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])
    assert (results[1][1].permute(0, 2, 3, 1)[target == IGNORED] == 0).all()


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
def test_nan_in_a_valid_pixel_is_not_hidden(loss, channels: int) -> None:
    logits, target = example(channels)
    target[0, 0, 0] = 0
    logits[0, -1, 0, 0] = float("nan")
    assert torch.isnan(loss(logits, target))


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
def test_gradcheck_and_another_ignore_index(loss, channels: int) -> None:
    logits, target = example(channels, batch=2)
    target = target.long()
    target[target == IGNORED] = -100
    assert torch.autograd.gradcheck(lambda z: loss(z, target, ignore_index=-100), (logits.requires_grad_(),))


@LOSSES
@pytest.mark.parametrize("channels", [1, 3])
def test_half_precision_is_computed_in_float32(loss, channels: int) -> None:
    logits, target = example(channels)
    logits = logits.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(logits, target)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.double(), target).item(), rel=1e-5)


@LOSSES
def test_nothing_valid_gives_zero_and_a_zero_gradient(loss) -> None:
    logits = torch.full((2, 3, 2, 2), float("nan"), requires_grad=True)
    value = loss(logits, torch.full((2, 2, 2), IGNORED, dtype=torch.uint8))
    value.backward()
    assert value.item() == 0.0 and (logits.grad == 0).all()


def test_errors() -> None:
    logits, target = example(3)
    for loss in (cross_entropy, dice):
        with pytest.raises(SnowmeltError, match="the target"):
            loss(logits, target[:, :2])
        with pytest.raises(SnowmeltError, match="integer type"):
            loss(logits, target.float())
    with pytest.raises(SnowmeltError, match="each of the 3 classes, but has 2"):
        cross_entropy(logits, target, class_weights=(1.0, 2.0))
    with pytest.raises(SnowmeltError, match="smooth must be positive"):
        dice(logits, target, smooth=0.0)
