"""Speed and memory of an epoch."""

from __future__ import annotations

import torch

from snowmelt.training.meter import Meter


def test_images_over_training_time_only() -> None:
    meter = Meter(torch.device("cpu"))
    meter.count(6)
    meter.count(4)
    meter.stop_training()
    first, second = meter.read(), meter.read()
    assert first["train_seconds"] == second["train_seconds"] > 0
    assert first["images_per_second"] == 10 / first["train_seconds"]
    assert second["score_seconds"] >= first["score_seconds"] >= 0
    assert 10 < first["peak_memory_mib"] < 1_000_000
