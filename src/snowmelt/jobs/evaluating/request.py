"""What ``snowmelt evaluate`` was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from snowmelt.evaluation import TOLERANCE
from snowmelt.jobs.opening import Weights

Split = Literal["train", "val", "test"]
WORST = 8  # images


@dataclass(frozen=True)
class EvaluateRequest:
    """Which weights on which images.

    Attributes:
        source: what ``snowmelt.jobs.opening.open_run`` takes.
        data: a SPEC of other images; ``None`` for the run's own.
        split: ``None`` for the test part where there is one, else validation.
        worst: how many of the worst images are listed and drawn.
        device: ``None`` for the best that this machine has.
        output: folder for what is written; ``None`` for ``evaluation/`` in the run folder, or ``<stem>-evaluation``
            here for a lone file.
        tolerance: of boundaries, as a share of an image's diagonal.
        overrides: ``data.image_folder=NAME`` and ``data.mask_folder=NAME`` of other data; without them the run's own
            names, and where those are not there what can be told from the folder.
    """

    source: str | Path
    data: str | None = None
    split: Split | None = None
    worst: int = WORST
    weights: Weights = "best"
    device: str | None = None
    output: Path | None = None
    tolerance: float = TOLERANCE
    overrides: tuple[str, ...] = ()
