"""Checkpoints: ``last`` to go on from, ``best`` to take away."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn
from torch.optim import Optimizer

from snowmelt.errors import SnowmeltError
from snowmelt.models import save_weights
from snowmelt.training.average import WeightAverage
from snowmelt.training.state import TrainState

FORMAT = 1


class Checkpoints:
    """The ``checkpoints/`` folder of a run.

    ``last.ckpt`` is the whole training state in one file, loadable with ``weights_only=True``; weights as
    safetensors lie beside it. Every file is written aside, flushed and renamed, so a cut leaves the old one.

    Args:
        folder: where the files go.
        identity: what a resumed run must have in common with the run that saved (epochs, groups, seed, ...).
        metadata: goes into every safetensors file.
        assumed: parts of the identity of a checkpoint that does not have them, since it is older than they are.
    """

    def __init__(
        self,
        folder: Path,
        identity: Mapping[str, Any],
        metadata: Mapping[str, Any],
        assumed: Mapping[str, Any] | None = None,
    ) -> None:
        self.folder = folder
        self.identity = dict(identity)
        self.metadata = dict(metadata)
        self.assumed = dict(assumed or {})

    @property
    def last(self) -> Path:
        return self.folder / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    @property
    def _best_of_complete_epochs(self) -> Path:
        return self.folder / "best.complete.safetensors"

    def save_last(
        self,
        state: TrainState,
        network: nn.Module,
        optimizer: Optimizer,
        projections: nn.Module | None = None,
        average: WeightAverage | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> None:
        """Everything needed to go on, and the weights that are scored alone as ``last.safetensors``.

        ``projections`` of feature matching learn with the network but are no part of it. With an ``average`` of the
        weights that is what is scored; a run goes on from the network's own. ``scaler``: of the loss, with fp16.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "identity": self.identity,
            "state": state.to_dict(),
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "projections": None if projections is None else projections.state_dict(),
            "average": None if average is None else average.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }
        with nullcontext() if average is None else average.in_place():
            save_weights(self.folder / "last.safetensors", network, self._describe(state))
        with replacing(self.last) as file:
            torch.save(content, file)

    def save_best(self, state: TrainState, network: nn.Module, complete: bool) -> None:
        """The weights with the best score so far.

        A run that ``max_steps`` stops inside an epoch scores a state that the uninterrupted run never scores. If
        that state is the best, the best of the complete epochs is kept aside, and a resumed run takes it back.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not complete and self.best.exists():
            os.replace(self.best, self._best_of_complete_epochs)
        save_weights(self.best, network, self._describe(state))

    def load_last(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        projections: nn.Module | None = None,
        average: WeightAverage | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> TrainState | None:
        """Put all parts where the last checkpoint left them, and return its state; ``None`` when there is none.

        Raises:
            SnowmeltError: the file is damaged, or belongs to a run with other settings (each is named).
        """
        if not self.last.exists():
            return None
        content = self._read()
        saved = {**self.assumed, **content["identity"]}
        different = [
            f"{key} was {saved.get(key)!r} and is {value!r}"
            for key, value in self.identity.items()
            if saved.get(key) != value
        ]
        if different:
            raise SnowmeltError(
                f"{self.last}: cannot go on with other settings: {'; '.join(different)}; "
                "use the same settings, or start anew with --overwrite or --run-name",
                code="run-other-settings",
            )
        self._check_parts(content, {"projections": projections, "average": average})
        network.load_state_dict(content["network"])
        if projections is not None:
            projections.load_state_dict(content["projections"])
        if average is not None:
            average.load_state_dict(content["average"])
        if scaler is not None and content.get("scaler"):  # older checkpoints have none: its scale settles in anew
            scaler.load_state_dict(content["scaler"])
        optimizer.load_state_dict(content["optimizer"])
        return TrainState.from_dict(content["state"])

    def take_back_best(self) -> None:
        """Undo the score of a state that the uninterrupted run never scores; for one process alone, after loading."""
        if self._best_of_complete_epochs.exists():
            os.replace(self._best_of_complete_epochs, self.best)

    def _read(self) -> dict[str, Any]:
        try:
            content = torch.load(self.last, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError, KeyError) as error:
            raise SnowmeltError(
                f"{self.last}: is damaged or no checkpoint ({type(error).__name__}); start anew with --overwrite",
                code="checkpoint-damaged",
            ) from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise SnowmeltError(
                f"{self.last}: was not written by this version of Snowmelt; use --overwrite", code="checkpoint-version"
            )
        return content

    def _check_parts(self, content: Mapping[str, Any], parts: Mapping[str, object | None]) -> None:
        names = {"projections": "feature matching", "average": "training.average"}
        for key, part in parts.items():
            if (content.get(key) is None) != (part is None):
                raise SnowmeltError(
                    f"{self.last}: cannot go on with {names[key]} switched on or off in between; "
                    "use the same settings, or start anew with --overwrite or --run-name",
                    code="run-other-settings",
                )

    def _describe(self, state: TrainState) -> dict[str, Any]:
        # best_miou is -inf before the first score, which JSON cannot hold.
        best = state.best_miou if state.best_epoch >= 0 else None
        position = {"epoch": state.epoch, "step": state.step, "best_miou": best, "best_epoch": state.best_epoch}
        return {**self.metadata, **position}


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write in place of ``path``: written aside, flushed to the disk, renamed, and the folder flushed.

    The path holds the old content or the new, never a part of it.
    """
    aside = path.with_name(path.name + ".tmp")
    with open(aside, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
