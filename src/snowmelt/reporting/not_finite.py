"""``not_finite.json``: what was not finite when, where bad steps did not end by themselves."""

from __future__ import annotations

import json
import math
from typing import Any

from snowmelt.reporting.csv_cells import replace_file
from snowmelt.reporting.run_folder import RunFolder
from snowmelt.training.events import Event, Listener, NotFinite


class NotFiniteReport(Listener):
    """Writes the file anew at every rollback and where a run gives up; a run without either has none."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder

    def receive(self, event: Event) -> None:
        if isinstance(event, NotFinite):
            text = json.dumps(_plain(event.content), ensure_ascii=False, indent=2, allow_nan=False)
            replace_file(self._folder.not_finite_file, text + "\n")


def _plain(value: Any) -> Any:
    """The value with ``null`` for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
