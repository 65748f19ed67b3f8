"""Randomness as a function of the position, so that nothing about it needs saving."""

from __future__ import annotations

import torch

MASK = (1 << 63) - 1


def mix(*numbers: int) -> int:
    """A seed from several whole numbers; neighbouring positions give unrelated seeds (splitmix64)."""
    value = 0
    for number in numbers:
        value = (value + number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 31
    return value & MASK


def seed_step(seed: int, epoch: int, step_in_epoch: int, rank: int) -> None:
    """Seed the networks' own randomness (dropout, stochastic depth) for one step.

    A run resumed at this step draws what the uninterrupted run draws here, on every process, whatever was drawn
    before: by data loading, by scoring, or not at all.
    """
    value = mix(seed, epoch, step_in_epoch, rank)
    # Not torch.manual_seed: without a GPU it notes down, at every call, what to do should one be used later.
    torch.default_generator.manual_seed(value)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(value)
