"""The run on the screen: live bars on a terminal, one plain line an epoch elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from snowmelt.reporting.run_folder import RunFolder
from snowmelt.reporting.summary import RunSummary
from snowmelt.schedules import DECODER
from snowmelt.training.events import (
    EpochEnded,
    EpochRecord,
    Event,
    Listener,
    Message,
    RunEnded,
    RunStarted,
    StageCompiled,
    StageStarted,
    StepEnded,
)


class ProgressDisplay(Listener):
    """Epochs, steps, loss terms, temperature, thawed blocks, rates, images/s and what remains; then the summary.

    Args:
        folder: lets the summary of a resumed run look up a best epoch before the cut.
        console: where to print; stdout by default.
        live: bars that redraw themselves. By default on a terminal only: elsewhere control characters would fill
            the file, so an epoch is one line and nothing else is written.
    """

    def __init__(
        self, folder: RunFolder | None = None, console: Console | None = None, live: bool | None = None
    ) -> None:
        self._console = console or Console()
        if live is None:
            live = self._console.file.isatty() and not self._console.is_dumb_terminal
        self._live = live
        self._summary = RunSummary(folder)
        self._bars: RunBars | None = None
        self._started: RunStarted | None = None

    def receive(self, event: Event) -> None:
        self._summary.receive(event)
        if isinstance(event, RunStarted):
            self._started = event
            self._print(_start_line(event))
            if self._live:
                self.close()
                self._bars = RunBars(event, self._console)
        elif isinstance(event, StageStarted):
            self._print(_stage_line(event))
        elif isinstance(event, StageCompiled):
            self._print(f"compiled in {event.seconds:.0f} s (with the stage's first step)")
        elif isinstance(event, StepEnded):
            if self._bars is not None:
                self._bars.show_step(event)
        elif isinstance(event, EpochEnded):
            self._print(epoch_line(event.record, self._started.epochs if self._started else None))
        elif isinstance(event, Message):
            warning = event.level == "warning"
            self._print(f"warning: {event.text}" if warning else event.text, "yellow" if warning else "")
        elif isinstance(event, RunEnded):
            self.close()
            self._print(self._summary.text())

    def close(self) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _print(self, text: str, style: str = "") -> None:
        if self._live:
            self._console.print(Text(text, style=style))  # a Text: brackets in names are no markup
        else:
            self._console.file.write(text + "\n")
            self._console.file.flush()


class RunBars:
    """A bar for the run and one for the epoch, with a line of figures below."""

    def __init__(self, run: RunStarted, console: Console) -> None:
        self._run = run
        self._losses: dict[str, float] = {}
        self._images, self._since, self._epoch = 0, time.monotonic(), -1
        self._progress = _FiguresBelow(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f} steps"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            expand=True,
        )
        self._whole: TaskID = self._progress.add_task("run", total=run.last_step, completed=run.first_step)
        self._part: TaskID = self._progress.add_task("epoch", total=run.steps_per_epoch)
        self._progress.start()

    def show_step(self, event: StepEnded) -> None:
        if event.epoch != self._epoch:
            self._epoch = event.epoch
            self._images, self._since = 0, time.monotonic()
            self._progress.reset(self._part, description=f"epoch {event.epoch} of 0-{self._run.epochs - 1}")
        self._images += event.images
        if event.losses is not None:
            self._losses = dict(event.losses)
        self._progress.update(self._whole, completed=event.step)
        self._progress.update(self._part, completed=event.step_in_epoch)
        seconds = max(time.monotonic() - self._since, 1e-9)
        self._progress.figures = step_figures(event, self._losses, self._images / seconds)

    def stop(self) -> None:
        self._progress.stop()


class _FiguresBelow(Progress):
    figures: str = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(self.figures)


def step_figures(event: StepEnded, losses: dict[str, float], images_per_second: float) -> str:
    """The newest figures in one line; ``losses`` are the last that were read from the device."""
    parts = [f"{name} {value:.4f}" for name, value in losses.items()]
    if event.temperature is not None:
        parts.append(f"T {event.temperature:.2f}")
    parts.append(f"thawed {event.thawed_blocks}")
    parts.append(f"lr {_rates(event.learning_rates)}")
    parts.append(f"{images_per_second:.1f} images/s")
    return "  ".join(parts)


def epoch_line(record: EpochRecord, epochs: int | None = None) -> str:
    """An epoch in one line of plain ASCII."""
    parts = [f"epoch {record.epoch}" + (f" of 0-{epochs - 1}" if epochs else "")]
    if not record.complete:
        parts[0] += " (partial)"
    if record.temperature is not None:
        parts.append(f"T {record.temperature:.2f}")
    parts.append(f"thawed {record.thawed_blocks}")
    parts.append(f"lr {_rates(record.learning_rates)}")
    for part, losses in (("train", record.train), ("val", record.val)):
        if losses:
            parts.append(part + " " + " ".join(f"{name} {value:.4f}" for name, value in losses.items()))
    parts.append("mIoU " + ("absent" if math.isnan(record.miou) else f"{record.miou:.4f}"))
    if record.teacher_miou is not None:
        parts.append(f"teacher {record.teacher_miou:.4f}")
    if "images_per_second" in record.timing:
        parts.append(f"{record.timing['images_per_second']:.1f} images/s")
    if record.best:
        parts.append("best so far")
    return " | ".join(parts)


def _rates(rates: Mapping[str, float]) -> str:
    """The decoder's rate and, where it has blocks, the encoder's, which all blocks share."""
    encoder = [rate for name, rate in rates.items() if name != DECODER]
    shown = [f"{rates[DECODER]:.2e}"] if DECODER in rates else []
    if encoder:
        shown.append(f"{max(encoder):.2e}")
    return "/".join(shown) or "-"


def _start_line(event: RunStarted) -> str:
    word = f"Going on with {event.name} from epoch {event.first_epoch}" if event.resumed else f"Training {event.name}"
    return (
        f"{word}: {event.epochs} epochs of {event.steps_per_epoch} steps, batch {event.effective_batch}, "
        f"{event.device}, precision {event.precision}, {event.parameters:,} parameters"
    )


def _stage_line(event: StageStarted) -> str:
    return (
        f"From epoch {event.epoch} on, this learns: {', '.join(event.learns)} "
        f"(thawed blocks: {event.thawed_blocks}, trainable parameters: {event.trainable_parameters:,})"
    )
