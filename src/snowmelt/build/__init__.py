"""From settings to objects: the only room that knows both."""

from snowmelt.build.data import is_scenes, make_evaluation_batches, open_data, settle, settle_weights
from snowmelt.build.identity import data_digest, digest_of, identity_of
from snowmelt.build.networks import BuiltNetwork, load_network, make_input, make_network, output_channels
from snowmelt.build.plan import make_plan_of, make_schedules, parameter_counts
from snowmelt.build.run import make_engine, make_objective, make_run, make_scorer
from snowmelt.build.teacher import make_teacher, teacher_experiment

__all__ = [
    "BuiltNetwork",
    "data_digest",
    "digest_of",
    "identity_of",
    "is_scenes",
    "load_network",
    "make_engine",
    "make_evaluation_batches",
    "make_input",
    "make_network",
    "make_objective",
    "make_plan_of",
    "make_run",
    "make_schedules",
    "make_scorer",
    "make_teacher",
    "open_data",
    "output_channels",
    "parameter_counts",
    "settle",
    "settle_weights",
    "teacher_experiment",
]
