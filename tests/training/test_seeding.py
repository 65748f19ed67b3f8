"""Randomness as a function of the position."""

from __future__ import annotations

import itertools

import torch

from snowmelt.training.seeding import mix, seed_step


def test_neighbouring_positions_get_different_seeds() -> None:
    positions = list(itertools.product(range(6), repeat=4))
    assert len({mix(*position) for position in positions}) == len(positions)
    assert mix(1, 2) != mix(2, 1)
    assert all(0 <= mix(*position) < 2**63 for position in positions)


def test_a_step_draws_the_same_whatever_was_drawn_before() -> None:
    seed_step(1, 2, 3, 0)
    first = torch.rand(4)
    torch.rand(17)
    seed_step(1, 2, 3, 0)
    assert torch.equal(torch.rand(4), first)
    seed_step(1, 2, 3, 1)
    assert not torch.equal(torch.rand(4), first)
