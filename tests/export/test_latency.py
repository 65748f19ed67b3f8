"""Contenders take turns; costs are counted as said."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from snowmelt.export import count_macs, count_parameters, time_in_turns
from snowmelt.export.latency import WARM_UP
from snowmelt.models import build_network, unreached_parameters


def test_everybody_is_asked_once_a_round_and_the_order_moves_on() -> None:
    asked: list[str] = []
    timed = time_in_turns([lambda name=name: asked.append(name) for name in "abc"], rounds=4)  # type: ignore[misc]
    assert len(timed) == 3
    rounds = ["".join(asked[start : start + 3]) for start in range(3 * WARM_UP, len(asked), 3)]
    assert rounds == ["abc", "bca", "cab", "abc"]


def test_median_and_percentile_are_of_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 10.0, 12.0, 20.0, 23.0, 30.0, 40.0])  # calls of 1, 2, 3 and 10 seconds
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    [latency] = time_in_turns([lambda: None], rounds=4)
    assert latency.median == pytest.approx(2.5)
    assert latency.p90 == pytest.approx(3 + 0.7 * 7)


def test_multiply_adds_in_closed_form() -> None:
    images = torch.zeros(2, 3, 8, 10)
    assert count_macs(nn.Conv2d(3, 5, 3, padding=1), images) == 2 * 8 * 10 * 5 * 3 * 9
    assert count_macs(nn.Sequential(nn.Conv2d(3, 6, 1, stride=2, groups=3), nn.ReLU()), images) == 2 * 4 * 5 * 6


def test_what_is_never_reached_does_not_count() -> None:
    network = build_network("unet", "timm-efficientnet-b0", 1, encoder_depth=3, decoder_channels=(16, 8, 8))
    idle = sum(value.numel() for value in unreached_parameters(network).values())
    assert idle > 0
    assert count_parameters(network) == sum(value.numel() for value in network.parameters()) - idle
