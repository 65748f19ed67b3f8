"""Sums over the steps of an epoch, kept on the device so that no step waits for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from snowmelt.training.causes import FINE
from snowmelt.training.engine import Engine
from snowmelt.training.state import TrainState


class Tally:
    """Loss terms summed over an epoch's steps, and the steps that were skipped.

    In double precision, so that an epoch of many thousand steps loses no digits; MPS has none, and there single
    precision must do. The state holds the sums exactly, so a cut in an epoch's middle changes no bit of them.
    """

    def __init__(self, engine: Engine, state: TrainState) -> None:
        self._engine = engine
        self._dtype = torch.float32 if engine.device_name == "mps" else torch.float64
        self._names = list(state.sums)
        own = [share_of(values, engine) for values in state.sums.values()]
        self._sums = torch.tensor(own, dtype=self._dtype, device=engine.device)
        counts = [state.skipped, state.skipped_in_a_row]
        self._counts = torch.tensor(counts, dtype=torch.int64, device=engine.device)

    def add(self, terms: Mapping[str, Tensor], cause: Tensor) -> None:
        """Count one step; the terms of one that made no update are left out.

        ``cause``: () int64 on the device, see ``causes.py``. An overflow that the loss scale answers belongs to no row
        of bad steps and does not end one either.
        """
        finite = cause == FINE
        if not self._names:
            self._names = list(terms)
            self._sums = torch.zeros(len(terms), dtype=self._dtype, device=self._engine.device)
        values = torch.stack([terms[name] for name in self._names]).to(self._dtype)
        self._sums += torch.where(finite, values, torch.zeros_like(values))
        bad = (~finite).to(torch.int64)
        self._counts = torch.stack([self._counts[0] + bad, (self._counts[1] + (cause > FINE)) * bad])

    def store(self, state: TrainState) -> None:
        """Write the tallies into the state; waits for the device."""
        by_rank = torch.zeros(self._engine.world_size, len(self._names), dtype=self._dtype, device=self._sums.device)
        by_rank[self._engine.rank] = self._sums
        by_rank = self._engine.sum_over_processes(by_rank)  # every other row is zero, so this gathers exactly
        columns = by_rank.cpu().T.tolist()
        state.sums = dict(zip(self._names, columns, strict=True))
        state.skipped, state.skipped_in_a_row = self._counts.tolist()


def share_of(by_rank: Sequence[float], engine: Engine) -> float:
    """This process's part of a saved sum; with another number of processes than before, rank 0 takes it all."""
    if len(by_rank) == engine.world_size:
        return by_rank[engine.rank]
    return math.fsum(by_rank) if engine.rank == 0 else 0.0


def mean_terms(state: TrainState) -> dict[str, float]:
    """Each term's mean over the epoch's steps that counted; NaN when none did."""
    counted = state.step_in_epoch - state.skipped
    return {name: sum(by_rank) / counted if counted else float("nan") for name, by_rank in state.sums.items()}
