"""Checkpoints: ``last`` to go on from and the one before it, ``best`` to take away."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from snowmelt.disk import named, second_name
from snowmelt.errors import SnowmeltError
from snowmelt.models import save_weights
from snowmelt.training.average import WeightAverage
from snowmelt.training.best_weights import BestWeights
from snowmelt.training.sealing import Damaged, read_sealed, write_sealed
from snowmelt.training.state import TrainState

FORMAT = 1
LAST, PREVIOUS, GOOD = "last.ckpt", "previous.ckpt", "good.ckpt"


class Parts(NamedTuple):
    """What a checkpoint holds besides the state; see ``Checkpoints.save_last``."""

    network: nn.Module
    optimizer: Optimizer
    projections: nn.Module | None = None
    average: WeightAverage | None = None
    scaler: torch.amp.GradScaler | None = None


class Checkpoints:
    """The ``checkpoints/`` folder of a run.

    ``last.ckpt`` is the whole training state in one file, loadable with ``weights_only=True``, and ``previous.ckpt``
    the one before it; weights as safetensors lie beside them. ``good.ckpt`` is what a run goes back to, where that is
    not the last one: before the first epoch is over, inside an epoch, and among bad steps (``TrainState.settled``).
    Every file is written aside, flushed and renamed, so a cut leaves the old one.

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
        self.notices: list[str] = []
        self._best = BestWeights(folder)
        self.saved_at: TrainState | None = None
        self._damaged: list[Path] = []
        self._owed: tuple[dict[str, Tensor], dict[str, Any]] | None = None
        self._held: tuple[dict[str, Tensor], dict[str, Any]] | None = None

    @property
    def last(self) -> Path:
        return self.folder / LAST

    @property
    def previous(self) -> Path:
        """The checkpoint before the last; for a moment, while a new one takes its place, the last itself."""
        return self.folder / PREVIOUS

    @property
    def good(self) -> Path:
        return self.folder / GOOD

    @property
    def best(self) -> Path:
        return self._best.path

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

        Raises:
            WriteError: it cannot be written; the ones before are as they were.
        """
        self._enter()
        if self._owed is not None:  # before the state that counts them as the best
            self._best.save(*self._owed)
            self._owed = None
        content = self._content(state, Parts(network, optimizer, projections, average, scaler))
        with nullcontext() if average is None else average.in_place():
            save_weights(self.folder / "last.safetensors", network, self._describe(state))
        # Of the two files that can be gone on from, one is whole at every moment, and when the new one cannot be
        # written both are the old ones.
        if not state.settled and self.last.exists() and not self.good.exists():
            second_name(self.last, self.good)
        write_sealed(self.last, content, keep=self.previous)
        self.saved_at = TrainState.from_dict(state.to_dict())
        self._overtake_good(state)
        self._best.count(state, more=self.good.exists())

    def save_start(self, state: TrainState, parts: Parts) -> None:
        """The position before the first step, to go back to while there is no later one. No run is resumed from it."""
        self._enter()
        write_sealed(self.good, self._content(state, parts))

    def save_best(self, state: TrainState, network: nn.Module) -> None:
        """The weights with the best score so far. Raises ``WriteError``."""
        self._enter()
        self._best.save(network, self._describe(state))
        self._owed = None

    def hold_best(self, state: TrainState, network: nn.Module) -> None:
        """Keep the best weights in memory, too; the next save writes them where they are not on the disk."""
        weights = {key: tensor.detach().to("cpu", copy=True) for key, tensor in network.state_dict().items()}
        self._held = self._owed = weights, self._describe(state)

    def make_anew(self) -> bool:
        """Make the folder again where it has disappeared; whether that was so, and could be done."""
        if self.folder.is_dir():
            return False
        self.saved_at, self._owed = None, self._held
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder.is_dir()

    def _enter(self) -> None:
        """The folder is there: made at first, and missed afterwards. Raises ``WriteError``."""
        with named(self.folder):
            if self.saved_at is not None and not self.folder.is_dir():
                raise OSError(errno.ENOENT, "it has disappeared")
            self.folder.mkdir(parents=True, exist_ok=True)

    def load_last(
        self,
        network: nn.Module,
        optimizer: Optimizer,
        projections: nn.Module | None = None,
        average: WeightAverage | None = None,
        scaler: torch.amp.GradScaler | None = None,
    ) -> TrainState | None:
        """Put all parts where the last checkpoint left them, and return its state; ``None`` when there is none.

        Where the last one is damaged, that is the one before it; ``notices`` says so.

        Raises:
            SnowmeltError: both are damaged, or belong to a run with other settings (each is named).
        """
        content = self._read()
        return None if content is None else self._load(content, Parts(network, optimizer, projections, average, scaler))

    def load_good(self, parts: Parts) -> TrainState | None:
        """The same with what the run goes back to; ``None`` when there is nothing.

        Raises:
            SnowmeltError: it is damaged.
        """
        path = self.good if self.good.exists() else self.last
        if not path.exists():
            return None
        state = self._load(read_sealed(path), parts)
        return state if state.settled else None

    def _load(self, content: Mapping[str, Any], parts: Parts) -> TrainState:
        try:
            self._check_identity(content["identity"])
            self._check_parts(content, {"projections": parts.projections, "average": parts.average})
            for name, part in parts._asdict().items():
                # Older checkpoints have no scaler, whose scale settles in anew.
                if part is not None and (name != "scaler" or content.get(name)):
                    part.load_state_dict(content[name])
            check_moments(parts.optimizer)
            self.saved_at = TrainState.from_dict(content["state"])
            return TrainState.from_dict(content["state"])
        except SnowmeltError:
            raise
        except Exception as error:  # a part that is missing or of another kind fails in a way of its own
            what = f"is damaged or no checkpoint of Snowmelt ({type(error).__name__}); start anew with --overwrite"
            raise Damaged(self.last, what) from error

    def _check_identity(self, found: Mapping[str, Any]) -> None:
        saved = {**self.assumed, **found}
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

    def settle(self, state: TrainState) -> None:
        """Bring the files in line with the state that was loaded; for one process alone, when all have loaded.

        A damaged checkpoint is put aside, so that no whole one gives way to it, and the best weights are those that
        the state knows of.
        """
        for path in self._damaged:
            with named(path):
                os.replace(path, path.with_name(f"{path.name}.damaged"))
        self._best.take_back(state)
        self._overtake_good(state)

    def go_back(self, state: TrainState) -> None:
        """The best weights are those of ``state``, to which the run has gone back; for one process alone."""
        self._owed = self._held = None  # of an epoch that is void now
        self._best.take_back(state)
        if state.best_epoch < 0:
            with named(self.best):
                self.best.unlink(missing_ok=True)

    def _overtake_good(self, state: TrainState) -> None:
        """The last checkpoint, which holds ``state``, may be what a run goes back to from here on."""
        if state.settled:
            with named(self.good):
                self.good.unlink(missing_ok=True)

    def _content(self, state: TrainState, parts: Parts) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "identity": self.identity,
            "state": state.to_dict(),
            **{name: None if part is None else part.state_dict() for name, part in parts._asdict().items()},
        }

    def _read(self) -> dict[str, Any] | None:
        """The content of the newest checkpoint that is whole."""
        errors: list[Damaged] = []
        for path in (self.last, self.previous):
            if not path.exists():
                continue
            try:
                content = read_sealed(path)
                if content["format"] != FORMAT:
                    raise Damaged(path, "was written by another version of Snowmelt", code="checkpoint-version")
            except Damaged as error:
                errors.append(error)
                continue
            self._damaged = [error.path for error in errors]
            if path == self.previous:
                why = f"{errors[0]}" if errors else f"{self.last}: is missing"
                position = f"epoch {content['state']['epoch']}, step {content['state']['step']}"
                self.notices.append(f"{why}; this goes on from the one before it, {path} ({position})")
            return content
        if not errors:
            return None
        why = "; ".join(map(str, errors)) + ("" if len(errors) > 1 else ", and there is none before it")
        raise SnowmeltError(f"{why}; start anew with --overwrite or --run-name", code=errors[0].code)

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


def check_moments(optimizer: Optimizer) -> None:
    """Every moment has its parameter's shape, which torch itself finds out at the next step. Raises ``ValueError``."""
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if not isinstance(value, torch.Tensor) or (value.ndim and value.shape != parameter.shape):
                raise ValueError(f"{name} of a parameter is of another shape")


def has_checkpoint(folder: Path) -> bool:
    """Whether there is something in ``checkpoints/`` to go on from, whole or not."""
    return (folder / LAST).exists() or (folder / PREVIOUS).exists()
