"""What became of the items, on the screen while it goes on and as JSON at the end."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from snowmelt.build import ProgressLines


@dataclass
class Tally:
    """Written from several threads."""

    classes: Sequence[str]
    files: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    images: int = 0  # pictures and frames
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, mask: np.ndarray) -> np.ndarray:
        """Pixels of each class."""
        return np.bincount(mask.reshape(-1), minlength=len(self.classes))

    def done(self, shown: str, targets: dict[str, Path], pixels: np.ndarray, **more: Any) -> None:
        """An item is whole on the disk."""
        shares = {
            name: round(float(share), 6)
            for name, share in zip(self.classes, pixels / max(1, pixels.sum()), strict=True)
        }
        entry = {"input": shown, **{kind: str(path) for kind, path in targets.items()}, **more, "shares": shares}
        with self._lock:
            self.files.append(entry)

    def stop(self) -> None:
        self.seconds = time.monotonic() - self.began

    @property
    def rate(self) -> float:
        return self.images / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        return {
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "images_per_second": round(self.rate, 3),
            "files": sorted(self.files, key=lambda entry: entry["input"]),
            "failed": self.failed,
        }


class Display:
    """A bar on a terminal, a plain line now and then elsewhere."""

    def __init__(self, json_on_stdout: bool) -> None:
        self._file: TextIO = sys.stderr if json_on_stdout else sys.stdout
        self._console = Console(file=self._file)
        self._live = self._file.isatty() and not self._console.is_dumb_terminal
        self._bar: Progress | None = None
        self._lines: ProgressLines | None = None

    def say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._file, flush=True)

    def start(self, what: str, total: int) -> None:
        """``total``: images that are expected; 0 where nobody knows."""
        self.stop()
        self._total, self._done, self._began = total, 0, time.monotonic()
        if not self._live:
            self._lines = ProgressLines(what, self.say)
            return
        figures = TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[rate]:.1f} images/s")
        self._bar = Progress(
            TextColumn("{task.description}", markup=False), BarColumn(None), figures, TimeRemainingColumn(),
            console=self._console, transient=True, expand=True,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=total or None, rate=0.0)
        self._bar.start()

    def step(self) -> None:
        self._done += 1
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=max(self._total, self._done), rate=rate)
        elif self._lines is not None:
            self._lines(self._done, self._total, rate)

    def stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._lines = None
