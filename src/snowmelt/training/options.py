"""Numbers that steer the loop, without the settings objects they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from snowmelt.training.block_warmup import BlockWarmup
from snowmelt.training.fade import DistillationFade
from snowmelt.training.thaw_guard import ThawGuard

MemoryMode = Literal["off", "refuse", "split", "delay"]


@dataclass(frozen=True)
class LoopOptions:
    """How the loop runs. ``batch_size`` counts images per forward pass and process."""

    batch_size: int
    accumulate: int = 1
    max_steps: int | None = None
    clip_norm: float | None = 1.0
    log_every: int = 20
    checkpoint_every: int | None = None
    max_skipped: int = 20  # bad steps in a row after which the run goes back, or ends
    rollbacks: int = 3  # how often it goes back at most
    rollback_scale: float = 0.5  # factor on every rate each time
    patience: int | None = None  # epochs without a better score after which the run ends; None: never
    seed: int = 0
    fade: DistillationFade = field(default_factory=DistillationFade)
    guard: ThawGuard = field(default_factory=ThawGuard)
    warmup: BlockWarmup = field(default_factory=BlockWarmup)
    average: float | None = None  # decay of the average of the weights that is scored; None: the weights themselves
    calibration_batches: int = 0  # batches that give a random encoder its norm statistics
    goes_on: bool = False  # without what cannot be written, warning and trying again; else that ends the run
    memory: MemoryMode = "off"  # what a stage that needs too much memory, or a step that runs out of it, leads to
    memory_limit: int | None = None  # bytes that a step may take; None: what is free
