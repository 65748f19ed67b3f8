"""Peaks of memory can be measured one after the other."""

from __future__ import annotations

import torch

from snowmelt.training.memory import MIB, memory_room, read_peak, reset_peak

CPU = torch.device("cpu")


def test_a_peak_is_seen_and_forgotten() -> None:
    assert reset_peak(CPU)
    before = read_peak(CPU)
    torch.ones(128 * MIB, dtype=torch.uint8)
    peak = read_peak(CPU)
    assert 120 * MIB < peak - before < 200 * MIB
    reset_peak(CPU)
    assert read_peak(CPU) < peak - 100 * MIB


def test_the_room_holds_the_process() -> None:
    assert memory_room(CPU) > read_peak(CPU) > 10 * MIB
