"""Speed and memory of an epoch; kept apart from the scores, which repeat exactly while these do not."""

from __future__ import annotations

import time

import torch

from snowmelt.training.memory import MIB, read_peak


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

        Memory is the device's where it counts its own, else the process's resident peak so far, in which a trial of
        stages before the run is left out (see ``memory.py``).
        """
        train = self._trained - self._start
        return {
            "train_seconds": train,
            "score_seconds": time.perf_counter() - self._trained,
            "images_per_second": self._images / train if train > 0 else 0.0,
            "peak_memory_mib": read_peak(self._device) / MIB,
        }
