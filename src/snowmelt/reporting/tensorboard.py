"""TensorBoard: the same figures as metrics.csv, by epoch, and the loss by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from snowmelt.reporting.event_file import EventFile
from snowmelt.reporting.png import encode_png
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.tables import metrics_row
from snowmelt.training.events import EpochEnded, EpochRecord, Event, Listener, RolledBack, RunStarted, StepEnded

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


class TensorBoardLog(Listener):
    """Event files in ``logs/`` with the epoch as axis, and in ``logs/steps/`` with the optimizer step.

    They are two TensorBoard runs because a run that is resumed, or goes back, tells TensorBoard from which point on
    older figures are void, and that point counts for everything in a folder: an epoch's number would void the steps as
    well.
    """

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._started = False
        self._epochs: EventFile | None = None
        self._steps: EventFile | None = None
        self._unwritten: list[EpochRecord] = []

    def receive(self, event: Event) -> None:
        if isinstance(event, RunStarted | RolledBack):
            self.close()
            self._started = True
            self._epochs = EventFile(self._folder.logs, event.first_epoch)
            self._steps = EventFile(self._folder.logs / "steps", event.first_step + 1)
        elif isinstance(event, EpochEnded) and self._started:
            self._unwritten.append(event.record)
            self.settle()
        elif isinstance(event, StepEnded) and event.losses is not None and self._started:
            # Of steps, what cannot be written is not repeated: metrics.csv has the epoch's means.
            self._steps = _there(self._steps, self._folder.logs / "steps", event.step)
            self._steps.add(_summaries(step_scalars(event)), event.step)

    def settle(self) -> None:
        while self._unwritten:
            record = self._unwritten[0]
            self._epochs = _there(self._epochs, self._folder.logs, record.epoch)
            self._epochs.add(_summaries(epoch_scalars(record)), record.epoch)
            del self._unwritten[0]

    def add_images(self, epoch: int, panels: Mapping[str, np.ndarray]) -> None:
        """Show panels, (H, W, 3) uint8 by name, under ``predictions/``. Nothing happens before the run starts."""
        if self._started:
            self._epochs = _there(self._epochs, self._folder.logs, epoch)
            self._epochs.add([_picture(f"predictions/{name}", panel) for name, panel in panels.items()], epoch)

    def close(self) -> None:
        for file in (self._epochs, self._steps):
            if file is not None:
                file.close()
        self._epochs = self._steps = None
        self._started = False


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


def _summaries(scalars: Mapping[str, float]) -> list[Summary]:
    from torch.utils.tensorboard.summary import scalar  # slow to import

    return [scalar(tag, value) for tag, value in scalars.items()]


def _picture(tag: str, panel: np.ndarray) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary

    height, width, channels = panel.shape
    encoded = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=encode_png(panel))
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])


def _there(file: EventFile | None, folder: Path, step: int) -> EventFile:
    """The file, or a new one where it could not be made before or is gone."""
    if file is not None and file.is_there:
        return file
    if file is not None:
        file.close()
    return EventFile(folder, step)
