"""Experiments that train in a second: small encoders, four embedded scenes of 64 pixels, no hub, one process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image

from snowmelt.config import ExperimentConfig, merge, with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.jobs import running

ENCODER = "tu-mobilenetv3_small_050"
BLOCKS = 6  # of that encoder

TINY: dict[str, Any] = {
    "data": {"source": "scenes:4", "image_size": 64, "workers": 0},
    # A step with smp's own widths takes twice as long.
    "student": {"encoder": ENCODER, "weights": "none", "decoder_channels": [16, 8, 8, 8, 8]},
    "teacher": {"network": {"encoder": ENCODER, "weights": "none", "decoder_channels": [24, 16, 8, 8, 8]}},
    "training": {"epochs": 2, "batch_size": 2, "device": "cpu", "precision": "32", "calibration_batches": 1},
}


def tiny(output: Path, name: str = "unscheduled", /, **values: Any) -> ExperimentConfig:
    """The registered experiment ``name`` made tiny, with ``values`` on top; its run folder lies in ``output``."""
    settings = merge(merge(TINY, {"output": str(output)}), values)
    return with_values(ConfigManager.get_config(name), settings)


def tiny_flags(output: Path) -> list[str]:
    """The same as :func:`tiny` for a command line, both commands' spelling alike: everything through ``--set``."""
    return [
        part for path, value in _flat(merge(TINY, {"output": str(output)})) for part in ("--set", f"{path}={value}")
    ]


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return pairs


def overheard(job: Callable[..., Any], *arguments: Any, **options: Any) -> tuple[Any, str]:
    """What a job gives and what it says."""
    said = io.StringIO()
    with redirect_stdout(said):
        result = job(*arguments, **options)
    return result, said.getvalue()


@contextmanager
def undrawn(*drawn: str) -> Iterator[None]:
    """Runs without plots and pictures, which take most of the time of so short a run, where no test looks at them.

    ``drawn`` are those that some test does look at, ``plots`` or ``predictions``.
    """
    with ExitStack() as patches:
        for name in {"plots", "predictions"} - set(drawn):
            patches.enter_context(patch.object(running, f"draw_{name}", lambda *_: {}))
        yield


def write_data_folder(root: Path, count: int = 6, classes: int = 2, size: int = 64) -> Path:
    """A data folder of bright boxes on dark ground, with ids as masks."""
    rng = np.random.default_rng(classes)
    for index in range(count):
        mask = np.zeros((size, size), np.uint8)
        for label in range(1, classes):
            row, column = rng.integers(0, size // 2, 2)
            mask[row : row + size // 3, column : column + size // 3] = label
        image = np.where(mask[..., None] > 0, 160 + 40 * (mask[..., None] % 3), rng.integers(0, 80, (size, size, 3)))
        for folder, picture in (("images", image), ("masks", mask)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.astype(np.uint8)).save(root / folder / f"{index:03d}.png")
    return root
