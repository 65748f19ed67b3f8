"""``best.safetensors``, and the ones before it for as long as a checkpoint counts them as the best."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snowmelt.disk import named, second_name
from snowmelt.errors import SnowmeltError
from snowmelt.models import read_metadata, save_weights
from snowmelt.training.state import TrainState

CHECKPOINTS = 2  # that can be gone on from


class BestWeights:
    """The weights with the best score of a run, as safetensors.

    A run may go on from a checkpoint that is older than these weights: the newest was damaged, or ``max_steps`` stopped
    the run inside an epoch, whose state the uninterrupted run never scores. So what was best before is kept beside as
    ``best.epoch-<n>.safetensors`` until no checkpoint counts it any more, and is taken back then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._counted: deque[int] = deque(maxlen=CHECKPOINTS)  # best epochs, by the checkpoints on the disk

    @property
    def path(self) -> Path:
        return self.folder / "best.safetensors"

    def save(self, network: nn.Module | Mapping[str, Tensor], metadata: Mapping[str, Any]) -> None:
        """Put these in their place. Raises ``WriteError``; the ones before are whole then."""
        if self.path.exists():
            second_name(self.path, self._kept(_score(self.path)[0]))
        save_weights(self.path, network, metadata)

    def count(self, state: TrainState, more: bool = False) -> None:
        """A checkpoint with this state was written: what only older ones counted is needed no more.

        ``more``: there is one more that a run may go back to, so all stay.
        """
        self._counted.append(state.best_epoch)
        if len(self._counted) == CHECKPOINTS and not more:
            needed = {self._kept(epoch) for epoch in self._counted if epoch != state.best_epoch}
            with named(self.folder):
                for path in self.folder.glob("best.epoch-*.safetensors"):
                    if path not in needed:
                        path.unlink()

    def take_back(self, state: TrainState) -> None:
        """Make the weights those that the state counts as the best; for one process alone, after loading."""
        self._counted.append(state.best_epoch)
        wanted = (state.best_epoch, state.best_miou)
        before = self.folder / "best.complete.safetensors"  # what older versions called it
        for path in (before, self._kept(state.best_epoch)):
            if path.exists() and _score(path) == wanted != _score(self.path):
                with named(self.path):
                    os.replace(path, self.path)

    def _kept(self, epoch: int) -> Path:
        return self.folder / f"best.epoch-{epoch}.safetensors"


def _score(path: Path) -> tuple[int, float | None]:
    """Epoch and mIoU that a weights file says of itself; (-1, None) of one that cannot be read."""
    try:
        metadata = read_metadata(path)
    except SnowmeltError:
        return -1, None
    return int(metadata.get("best_epoch", -1)), metadata.get("best_miou")
