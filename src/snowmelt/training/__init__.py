"""Training: one readable loop, its step, its state, checkpoints and events."""

from snowmelt.training.checkpoints import Checkpoints
from snowmelt.training.engine import Engine, mixed_precision_for, resolve_device, resolve_precision
from snowmelt.training.events import Announcer, EpochRecord, Event, Listener, Message
from snowmelt.training.features import FeatureMatching
from snowmelt.training.loop import fit
from snowmelt.training.options import LoopOptions
from snowmelt.training.fade import DistillationFade
from snowmelt.training.run import Teaching, TrainingRun
from snowmelt.training.scoring import Score, Scorer
from snowmelt.training.state import TrainState

__all__ = [
    "Announcer",
    "Checkpoints",
    "DistillationFade",
    "Engine",
    "EpochRecord",
    "Event",
    "FeatureMatching",
    "Listener",
    "LoopOptions",
    "Message",
    "Score",
    "Scorer",
    "Teaching",
    "TrainState",
    "TrainingRun",
    "fit",
    "mixed_precision_for",
    "resolve_device",
    "resolve_precision",
]
