"""Calibration: by hand, pixel by pixel in numpy, against torchmetrics, and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.classification import multiclass_calibration_error

from snowmelt.errors import SnowmeltError
from snowmelt.evaluation import Calibration


def made(seed: int, classes: int = 4, images: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, classes, 6, 5, generator=rng)
    truth = torch.randint(0, classes, (images, 6, 5), generator=rng)
    truth[torch.rand(truth.shape, generator=rng) < 0.2] = 255
    return logits, truth


def test_by_hand() -> None:
    """Two pixels sure to 73 %, one of them right; one sure to 98 % and right."""
    calibration = Calibration(bins=10)
    sure = torch.tensor([1.0, -1.0, 4.0]).reshape(1, 1, 1, 3)
    calibration.add(sure, torch.tensor([[[1, 1, 1]]]))
    low, high = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-4))
    assert calibration.error() == pytest.approx((2 * abs(low - 0.5) + abs(high - 1)) / 3)
    table = calibration.reliability()
    assert table[7] == pytest.approx((low, 0.5, 2 / 3))
    assert table[9] == pytest.approx((high, 1.0, 1 / 3))
    assert math.isnan(table[0].confidence)
    assert table[0].share == 0.0


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 6))
def test_two_other_ways_to_compute_it(seed: int, classes: int) -> None:
    logits, truth = made(seed, classes)
    calibration = Calibration()
    calibration.add(logits, truth, ignore_index=255)
    valid = (truth != 255).numpy()
    values = logits.double().numpy()
    chances = np.exp(values) / np.exp(values).sum(1, keepdims=True)
    confidence, right = chances.max(1)[valid], (chances.argmax(1) == truth.numpy())[valid]
    error = 0.0
    for number in range(15):
        inside = (confidence > number / 15) & (confidence <= (number + 1) / 15)
        if inside.any():
            error += inside.sum() * abs(confidence[inside].mean() - right[inside].mean()) / len(right)
    assert calibration.error() == pytest.approx(error, abs=1e-6)
    flat = logits.movedim(1, -1).reshape(-1, classes), truth.reshape(-1)
    theirs = multiclass_calibration_error(*flat, num_classes=classes, n_bins=15, norm="l1", ignore_index=255)
    assert calibration.error() == pytest.approx(float(theirs), abs=1e-5)


def test_one_logit_is_two_of_which_one_is_zero() -> None:
    logits, truth = made(3, classes=2)
    one, two = Calibration(), Calibration()
    single = logits[:, 1:] - logits[:, :1]
    one.add(single, truth, 255)
    two.add(torch.cat([torch.zeros_like(single), single], dim=1), truth, 255)
    torch.testing.assert_close(one.totals, two.totals)


def test_batches_add_up_in_any_order() -> None:
    logits, truth = made(8, images=5)
    whole, parts = Calibration(), Calibration()
    whole.add(logits, truth, 255)
    for index in (3, 1, 4, 0, 2):
        parts.add(logits[index : index + 1], truth[index : index + 1], 255)
    torch.testing.assert_close(parts.totals, whole.totals)
    assert whole.totals[0].sum() == (truth != 255).sum()
    assert sum(row.share for row in whole.reliability()) == pytest.approx(1)


def test_a_bin_holds_its_upper_end() -> None:
    calibration = Calibration(bins=4)
    calibration.add(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    assert calibration.totals[0].tolist() == [0, 1, 0, 0]  # a confidence of just a half


def test_certainty_lies_in_the_last_bin() -> None:
    calibration = Calibration(bins=4)
    calibration.add(torch.tensor([60.0, -60.0]).reshape(1, 1, 1, 2), torch.tensor([[[1, 1]]]))
    assert calibration.totals[0].tolist() == [0, 0, 0, 2]
    assert calibration.error() == pytest.approx(0.5)


def test_nothing_to_say_about_nothing() -> None:
    calibration = Calibration()
    calibration.add(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2), 255), 255)
    assert math.isnan(calibration.error())
    with pytest.raises(SnowmeltError, match="do not fit"):
        calibration.add(torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 3))
    with pytest.raises(SnowmeltError, match="at least one"):
        Calibration(bins=0)
