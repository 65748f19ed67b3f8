"""Speed and memory of an epoch; kept apart from the scores, which repeat exactly while these do not."""

from __future__ import annotations

import resource
import sys
import time

import torch


class Meter:
    """Clock and memory gauge of one epoch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._images = 0
        self._start = time.perf_counter()
        self._trained = self._start
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    def count(self, images: int) -> None:
        """Images that a training step saw."""
        self._images += images

    def stop_training(self) -> None:
        """Training steps are over; what follows is scoring and saving."""
        self._trained = time.perf_counter()

    def read(self) -> dict[str, float]:
        """Seconds of training and of the rest, images per second of training, peak memory in MiB.

        Memory is the device's where it counts its own, else the process's resident peak so far.
        """
        train = self._trained - self._start
        return {
            "train_seconds": train,
            "score_seconds": time.perf_counter() - self._trained,
            "images_per_second": self._images / train if train > 0 else 0.0,
            "peak_memory_mib": self._peak_memory(),
        }

    def _peak_memory(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 2**20
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
