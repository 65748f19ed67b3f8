"""Random numbers that depend on a key alone, and leave the generators of the program as they were."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """Run the body with torch's CPU generator seeded from ``key`` (whole numbers from 0), then put its state back.

    Only the CPU generator: ``torch.manual_seed`` would reseed every accelerator too, and ``fork_rng`` does not give
    those back without copying their states for each image. Augmentation runs on the CPU and draws from torch only.
    """
    seed = np.random.SeedSequence(key).generate_state(1, np.uint64)[0]
    before = torch.get_rng_state()
    try:
        torch.default_generator.manual_seed(int(seed) >> 1)  # 63 bits: signed in torch
        yield
    finally:
        torch.set_rng_state(before)
