"""Predicting on a stream of pictures: batches across pictures, answers in order, memory that does not grow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snowmelt.errors import SnowmeltError
from snowmelt.inference.answers import class_probabilities
from snowmelt.inference.sheets import Fit, Piece, Sheet

Network = Callable[[Tensor], Tensor]
"""(B, 3, H, W) uint8 -> (B, K, H, W) logits, on the CPU."""

MOST_PIXELS = 16_000_000
"""Of the pictures that wait for their batch to fill; with more, it is asked about as it is."""


@dataclass(frozen=True)
class Picture:
    """(H, W, 3) uint8 RGB, and whatever the caller wants to know it by."""

    image: np.ndarray
    key: Any = None


@dataclass(frozen=True)
class Prediction:
    """``mask``: (H, W) uint8 class ids in the picture's size; ``probabilities``: (C, H, W) float16 where asked for."""

    picture: Picture
    mask: np.ndarray
    probabilities: np.ndarray | None


class Predictor:
    """Args:
    network: what is asked.
    channels: how many logits it gives; 1 means two classes.
    fit: how pictures are shown to it.
    flip: show each mirrored, too, and average the probabilities.
    probabilities: hand them out beside the masks.
    """

    def __init__(
        self,
        network: Network,
        channels: int,
        fit: Fit,
        *,
        batch_size: int = 8,
        flip: bool = False,
        probabilities: bool = False,
    ) -> None:
        if batch_size < 1:
            raise SnowmeltError(f"batch size {batch_size}: it must be at least 1", code="settings-value")
        self.network = network
        self.channels = channels
        self.fit = fit
        self.batch_size = batch_size
        self.flip = flip
        self.probabilities = probabilities

    def predict(self, pictures: Iterable[Picture]) -> Iterator[Prediction]:
        """The predictions in the order of the pictures, each as soon as it is whole.

        Pieces of one shape share a batch, whichever pictures they are of; at most a batch of pictures, or of
        ``MOST_PIXELS``, is held.

        Raises:
            SnowmeltError: the network answers with another shape, or with values that are not finite.
        """
        batch: list[tuple[Sheet, Piece]] = []
        unfinished: deque[tuple[Picture, Sheet]] = deque()
        for picture in pictures:
            sheet = self.fit.sheet(picture.image, self.channels, flip=self.flip, keep=self.probabilities)
            unfinished.append((picture, sheet))
            for piece in sheet.pieces():
                if batch and batch[0][1].pixels.shape != piece.pixels.shape:
                    self._ask(batch)
                batch.append((sheet, piece))
                if len(batch) == self.batch_size:
                    self._ask(batch)
            if sum(held.image.shape[0] * held.image.shape[1] for held, _ in unfinished) > MOST_PIXELS:
                self._ask(batch)
            yield from _finished(unfinished)
        self._ask(batch)
        yield from _finished(unfinished)

    def _ask(self, batch: list[tuple[Sheet, Piece]]) -> None:
        """Ask about the batch, hand the answers to their sheets, and empty it."""
        if not batch:
            return
        images = torch.stack([piece.pixels for _, piece in batch])
        logits = self.network(images)
        expected = (len(batch), self.channels, *images.shape[2:])
        if tuple(logits.shape) != expected:
            raise SnowmeltError(
                f"the network answers with the shape {tuple(logits.shape)}; expected {expected}", code="array-shape"
            )
        if not bool(logits.isfinite().all()):
            raise SnowmeltError(
                "the network's answer is not finite; its weights are damaged or its precision too low",
                code="numbers-not-finite",
            )
        for (sheet, piece), values in zip(batch, class_probabilities(logits), strict=True):
            sheet.add(piece, values)
        batch.clear()


def _finished(unfinished: deque[tuple[Picture, Sheet]]) -> Iterator[Prediction]:
    while unfinished and unfinished[0][1].finished:
        picture, sheet = unfinished.popleft()
        kept = sheet.answer.probabilities
        yield Prediction(picture, sheet.answer.mask.numpy(), None if kept is None else kept.numpy())
