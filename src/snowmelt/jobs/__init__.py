"""Jobs: what each command does, without a terminal's flags. The floor between the commands and the rooms below."""

from snowmelt.jobs.caching import cache_teacher
from snowmelt.jobs.demo import run_demo
from snowmelt.jobs.planning import plan_experiment
from snowmelt.jobs.request import describe_configs, mixed_precision_for, prepare
from snowmelt.jobs.scoring import score_run
from snowmelt.jobs.teaching import teach_experiment
from snowmelt.jobs.training import train_experiment

__all__ = [
    "cache_teacher",
    "describe_configs",
    "mixed_precision_for",
    "plan_experiment",
    "prepare",
    "run_demo",
    "score_run",
    "teach_experiment",
    "train_experiment",
]
