"""Random numbers that depend on a key alone."""

from __future__ import annotations

import numpy as np

GEOMETRY, COLOUR, TEXTURE = 0, 1, 2
"""Streams of an item's random numbers, one for each part, so that any can be drawn alone."""


def generator(*key: int) -> np.random.Generator:
    """A generator of its own for ``key``, whole numbers from 0. No other generator is touched, so threads may draw."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
