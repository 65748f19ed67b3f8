"""From settings to objects: the only room that knows both."""

from snowmelt.build.data import (
    is_scenes,
    join_unlabelled,
    labelled_only,
    make_evaluation_batches,
    open_data,
    open_second_data,
)
from snowmelt.build.identity import data_digest, digest_of, identity_of
from snowmelt.build.networks import BuiltNetwork, load_network, make_input, make_network, output_channels
from snowmelt.build.plan import make_plan_of, make_schedules, parameter_counts
from snowmelt.build.progress import ProgressLines
from snowmelt.build.run import make_engine, make_objective, make_run, make_scorer
from snowmelt.build.settling import settle, settle_weights
from snowmelt.build.space import refuse_without_room, refuse_without_room_for_all
from snowmelt.build.store import store_pictures, store_root
from snowmelt.build.teacher import OpenedTeacher, open_teacher, teacher_experiment
from snowmelt.build.teaching import (
    BuiltTeaching,
    cache_root,
    choose_mode,
    examiner_of,
    live_teaching,
    stored_teaching,
)

__all__ = [
    "BuiltNetwork",
    "BuiltTeaching",
    "OpenedTeacher",
    "ProgressLines",
    "cache_root",
    "choose_mode",
    "data_digest",
    "digest_of",
    "examiner_of",
    "identity_of",
    "is_scenes",
    "join_unlabelled",
    "labelled_only",
    "live_teaching",
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
    "open_data",
    "open_second_data",
    "open_teacher",
    "output_channels",
    "parameter_counts",
    "refuse_without_room",
    "refuse_without_room_for_all",
    "settle",
    "settle_weights",
    "store_pictures",
    "store_root",
    "stored_teaching",
    "teacher_experiment",
]
