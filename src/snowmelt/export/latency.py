"""How long answers take: contenders in turns, so that what else the machine does meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

WARM_UP = 3  # first calls allocate, choose kernels and fill caches


@dataclass(frozen=True)
class Latency:
    """Seconds for one call."""

    median: float
    p90: float


def time_in_turns(contenders: Sequence[Callable[[], object]], rounds: int) -> list[Latency]:
    """Call each contender once a round; the order moves on by one every round.

    Whatever comes and goes on the machine, a neighbour's job or a warmer processor, is then shared by all, and nobody
    always comes after the same one. Calls must be over when they return.
    """
    seconds = np.zeros((len(contenders), rounds))
    with torch.inference_mode():
        for contender in contenders:
            for _ in range(WARM_UP):
                contender()
        for turn in range(rounds):
            for place in range(len(contenders)):
                number = (place + turn) % len(contenders)
                start = time.perf_counter()
                contenders[number]()
                seconds[number, turn] = time.perf_counter() - start
    return [Latency(float(np.median(row)), float(np.quantile(row, 0.9))) for row in seconds]
