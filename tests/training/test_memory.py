"""Peaks of memory can be measured one after the other."""

from __future__ import annotations

import torch

from snowmelt.training.memory import MIB, memory_room, read_peak, reset_peak

CPU = torch.device("cpu")


def test_a_peak_is_seen_and_forgotten() -> None:
    assert reset_peak(CPU)
    before = read_peak(CPU)
    torch.ones(512 * MIB, dtype=torch.uint8)
    peak = read_peak(CPU)
    assert 400 * MIB < peak - before < 650 * MIB  # a system that takes idle pages away moves both
    reset_peak(CPU)
    assert read_peak(CPU) < peak - 400 * MIB


def test_the_room_holds_the_process() -> None:
    assert memory_room(CPU) > read_peak(CPU) > 10 * MIB
