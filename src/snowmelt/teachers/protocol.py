"""What training asks of a teacher, and what a kind of teacher has to provide. Each kind is one file beside this one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


class Teacher(Protocol):
    """Images in, logits out, in the student's geometry and the student's classes.

    Whatever a teacher is (a network, an exported model), it normalises by itself, keeps no graph, and does not change
    during training.
    """

    @property
    def digest(self) -> str:
        """Changes with whatever changes its answers: weights, normalisation, size, class mapping, kind of output.

        Precision and device are left out: a stored answer is the same teacher's, wherever it was computed.
        """
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, N, N) uint8 RGB -> (B, C, N, N) float32 logits; C = 1 for two classes: the logit of class 1."""
        ...

    def describe(self) -> str:
        """One line for the log."""
        ...


@runtime_checkable
class TeacherModel(Protocol):
    """What a kind of teacher provides; ``FittedTeacher`` makes a ``Teacher`` of it."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of its outputs where the file tells; a model of one channel has two names or None."""
        ...

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) in pixels that it demands; None where it takes what it gets."""
        ...

    @property
    def digest(self) -> str:
        """Hex; changes with whatever changes its answers."""
        ...

    def __call__(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 RGB -> (B, K, h, w) float32 logits, any h and w; normalises by itself, keeps no graph."""
        ...

    def describe(self) -> str:
        """One line for the log."""
        ...


@runtime_checkable
class StoredMaps(Protocol):
    """A teacher whose answers lie in files, one per image, found by the image's name (its stem)."""

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the channels where they are known; maps of one channel have two names or None."""
        ...

    @property
    def digest(self) -> str:
        """Hex; changes with the content of the maps."""
        ...

    def has(self, name: str) -> bool:
        """Whether there is a map for the image of this name."""
        ...

    def read(self, name: str) -> Tensor:
        """(K, h, w) float32 logits that cover the whole image; SnowmeltError where there is none or it is broken."""
        ...

    def describe(self) -> str:
        """One line for the log."""
        ...
