"""TensorBoard: the same figures as metrics.csv, by epoch, and the loss by step."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.tables import metrics_row
from snowmelt.training.events import EpochEnded, EpochRecord, Event, Listener, RolledBack, RunStarted, StepEnded

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardLog(Listener):
    """Event files in ``logs/`` with the epoch as axis, and in ``logs/steps/`` with the optimizer step.

    They are two TensorBoard runs because a run that is resumed, or goes back, tells TensorBoard from which point on
    older figures are void, and that point counts for everything in a folder: an epoch's number would void the steps as
    well.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._epochs: SummaryWriter | None = None
        self._steps: SummaryWriter | None = None

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted | RolledBack):
            self.close()
            self._epochs = _open(self._folder.logs, event.first_epoch)
            self._steps = _open(self._folder.logs / "steps", event.first_step + 1)
        elif isinstance(event, EpochEnded) and self._epochs is not None:
            for tag, value in epoch_scalars(event.record).items():
                self._epochs.add_scalar(tag, value, event.record.epoch)
            self._epochs.flush()
        elif isinstance(event, StepEnded) and event.losses is not None and self._steps is not None:
            for tag, value in step_scalars(event).items():
                self._steps.add_scalar(tag, value, event.step)
            self._steps.flush()

    def add_images(self, epoch: int, panels: Mapping[str, np.ndarray]) -> None:
        """Show panels, (H, W, 3) uint8 by name, under ``predictions/``. Nothing happens before the run starts."""
        if self._epochs is None:
            return
        for name, panel in panels.items():
            self._epochs.add_image(f"predictions/{name}", panel, epoch, dataformats="HWC")
        self._epochs.flush()

    def close(self) -> None:
        for writer in (self._epochs, self._steps):
            if writer is not None:
                writer.close()
        self._epochs = self._steps = None


def epoch_scalars(record: EpochRecord) -> dict[str, float]:
    """Tag -> value; what has no value (no teacher, an absent class) has no point."""
    scalars = {}
    for column, value in metrics_row(record).items():
        if column in ("epoch", "step", "complete", "best") or value is None or value != value:
            continue
        tag = f"loss/{column}" if column.startswith(("train/", "val/")) else column
        scalars[tag] = float(value)
    scalars.update({f"speed/{name}": float(value) for name, value in record.timing.items()})
    return scalars


def step_scalars(event: StepEnded) -> dict[str, float]:
    scalars = {f"step/loss/{name}": float(value) for name, value in (event.losses or {}).items()}
    scalars.update({f"step/lr/{name}": float(rate) for name, rate in event.learning_rates.items()})
    scalars["step/thawed_blocks"] = float(event.thawed_blocks)
    if event.temperature is not None:
        scalars["step/temperature"] = float(event.temperature)
    return scalars


def _open(folder: Path, purge_step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter  # slow to import

    _wait_for_a_new_name(folder)
    return SummaryWriter(str(folder), purge_step=purge_step)


def _wait_for_a_new_name(folder: Path) -> None:
    """TensorBoard reads event files in the order of their names, which begin with the second.

    Two files of one second may be read in the wrong order, and then the older one voids the newer.
    """
    stamps = [re.match(r"events\.out\.tfevents\.(\d+)\.", path.name) for path in folder.glob("events.out.*")]
    newest = max((int(stamp[1]) for stamp in stamps if stamp), default=0)
    if newest == int(time.time()):
        time.sleep(newest + 1 - time.time())
