"""Pictures, a teacher that counts, and a filled cache, for the tests of the teacher cache."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snowmelt.data import Sample, fitted_size
from snowmelt.teachers.cache import Encoding, answers_of_teacher, fill, open_cache

SIZE = 16
SHAPES = [(16, 16), (16, 10), (9, 16), (40, 30), (7, 7), (30, 41)]
DIGEST = "0123456789abcdef" * 4


def smooth_logits(channels: int, size: int, seed: int = 0, spread: float = 6.0) -> Tensor:
    """(C, size, size): a few blobs, as a network's answers have."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, channels, 5, 5), generator=generator) * spread
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)[0]


class Pictures:
    """A source in memory: smooth coloured pictures of several shapes, all of them different."""

    classes = ("background", "thing")

    def __init__(self, seeds: Sequence[int], scale: int = 1) -> None:
        self.seeds = list(seeds)
        self.scale = scale

    def __len__(self) -> int:
        return len(self.seeds)

    def image(self, index: int) -> np.ndarray:
        seed = self.seeds[index]
        height, width = (side * self.scale for side in SHAPES[seed % len(SHAPES)])
        ramp = smooth_logits(3, 64, seed, 60.0)
        small = F.interpolate(ramp[None], size=(height, width), mode="bilinear", align_corners=False)[0]
        return (small + 128).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def load(self, index: int) -> Sample:
        image = self.image(index)
        return Sample(image, np.full(image.shape[:2], 255, dtype=np.uint8), self.name(index))

    def name(self, index: int) -> str:
        return f"{self.seeds[index]:03d}.png"

    def digest(self, index: int) -> str:
        return hashlib.sha256(self.image(index).tobytes()).hexdigest()

    def check(self) -> None:
        pass

    def describe(self) -> str:
        return f"{len(self)} pictures"

    def filled(self, index: int) -> tuple[int, int]:
        return fitted_size(*self.image(index).shape[:2], SIZE)


class CountingTeacher:
    """Logits are linear in the colours, so that resampling picture or answer is the same.

    Args:
        dies_after: pictures after which the process ends as if it were killed.
    """

    digest = DIGEST

    def __init__(self, channels: int = 1, dies_after: int | None = None) -> None:
        self.weights = torch.randn((channels, 3), generator=torch.Generator().manual_seed(7)) / 20
        self.dies_after = dies_after
        self.asked = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        if self.dies_after is not None and self.asked > self.dies_after:
            os._exit(9)
        return torch.einsum("kc,bchw->bkhw", self.weights, images.float() - 128)

    def describe(self) -> str:
        return "linear"


def exact(channels: int = 1, size: int = SIZE) -> Encoding:
    return Encoding("float16", 1, None, channels, size)


def fill_and_die(root: Path, pictures: int, dies_after: int) -> None:
    """For a process of its own, which does not survive."""
    torch.set_num_threads(1)
    cache = open_cache(root, DIGEST, exact())
    answers = answers_of_teacher(CountingTeacher(dies_after=dies_after))
    fill(cache, answers, Pictures(range(pictures)), batch_size=2, shard_seconds=0)
