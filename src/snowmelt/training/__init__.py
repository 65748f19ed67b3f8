"""Training: one readable loop, its step, its state, checkpoints and events."""

from snowmelt.training.average import WeightAverage
from snowmelt.training.block_warmup import BlockWarmup
from snowmelt.training.checkpoints import Checkpoints, has_checkpoint
from snowmelt.training.determinism import deterministic
from snowmelt.training.engine import Engine, mixed_precision_for, resolve_device, resolve_precision
from snowmelt.training.events import Announcer, EpochRecord, Event, Listener, Message
from snowmelt.training.fade import DistillationFade
from snowmelt.training.features import FeatureMatching
from snowmelt.training.image_scores import Answer, answer_of, score_images
from snowmelt.training.loop import fit
from snowmelt.training.options import LoopOptions
from snowmelt.training.run import Teaching, TrainingRun
from snowmelt.training.scoring import Score, Scorer
from snowmelt.training.state import TrainState
from snowmelt.training.stopping import StopRequest
from snowmelt.training.thaw_guard import GuardState, ThawGuard
from snowmelt.training.trial import StageCost, try_stages

__all__ = [
    "Announcer",
    "Answer",
    "BlockWarmup",
    "Checkpoints",
    "DistillationFade",
    "Engine",
    "EpochRecord",
    "Event",
    "FeatureMatching",
    "GuardState",
    "Listener",
    "LoopOptions",
    "Message",
    "Score",
    "Scorer",
    "StageCost",
    "StopRequest",
    "Teaching",
    "ThawGuard",
    "TrainState",
    "TrainingRun",
    "WeightAverage",
    "answer_of",
    "deterministic",
    "fit",
    "has_checkpoint",
    "mixed_precision_for",
    "resolve_device",
    "resolve_precision",
    "score_images",
    "try_stages",
]
