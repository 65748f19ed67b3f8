"""What training asks of a teacher. Each kind of teacher is one file beside this one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Teacher(Protocol):
    """Images in, logits out, in the student's geometry.

    Whatever a teacher is (a network, an exported model, stored maps), it normalises by itself, keeps no graph, does
    not change during training, and answers with logits of the student's classes.
    """

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B, C, H, W) float logits, C = 1 for two classes."""
        ...

    def describe(self) -> str:
        """One line for the log."""
        ...
