"""Jobs: what each command does, without a terminal's flags. The floor between the commands and the rooms below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snowmelt.jobs.benchmarking import BenchmarkRequest, benchmark_run
    from snowmelt.jobs.caching import cache_teacher
    from snowmelt.jobs.compare_request import CompareRequest, read_names, read_request, read_seeds
    from snowmelt.jobs.comparing import compare_experiment
    from snowmelt.jobs.demo import run_demo
    from snowmelt.jobs.evaluating import EvaluateRequest, evaluate_run
    from snowmelt.jobs.exporting import ExportRequest, export_run, read_size
    from snowmelt.jobs.page import report_run
    from snowmelt.jobs.planning import plan_experiment
    from snowmelt.jobs.predicting import PredictRequest, predict_pictures, read_save, read_tile
    from snowmelt.jobs.request import describe_configs, prepare
    from snowmelt.jobs.scoring import score_run
    from snowmelt.jobs.signals import catching_signals
    from snowmelt.jobs.starting import init_experiment
    from snowmelt.jobs.surveying import check_data
    from snowmelt.jobs.teaching import teach_experiment
    from snowmelt.jobs.training import train_experiment
    from snowmelt.training import mixed_precision_for

__all__ = [
    "BenchmarkRequest",
    "CompareRequest",
    "EvaluateRequest",
    "ExportRequest",
    "PredictRequest",
    "benchmark_run",
    "cache_teacher",
    "catching_signals",
    "check_data",
    "compare_experiment",
    "describe_configs",
    "evaluate_run",
    "export_run",
    "init_experiment",
    "mixed_precision_for",
    "plan_experiment",
    "predict_pictures",
    "prepare",
    "read_names",
    "read_request",
    "read_save",
    "read_seeds",
    "read_size",
    "read_tile",
    "report_run",
    "run_demo",
    "score_run",
    "teach_experiment",
    "train_experiment",
]

_HOMES = {
    "BenchmarkRequest": "snowmelt.jobs.benchmarking",
    "CompareRequest": "snowmelt.jobs.compare_request",
    "EvaluateRequest": "snowmelt.jobs.evaluating",
    "ExportRequest": "snowmelt.jobs.exporting",
    "PredictRequest": "snowmelt.jobs.predicting",
    "benchmark_run": "snowmelt.jobs.benchmarking",
    "cache_teacher": "snowmelt.jobs.caching",
    "catching_signals": "snowmelt.jobs.signals",
    "check_data": "snowmelt.jobs.surveying",
    "compare_experiment": "snowmelt.jobs.comparing",
    "describe_configs": "snowmelt.jobs.request",
    "evaluate_run": "snowmelt.jobs.evaluating",
    "export_run": "snowmelt.jobs.exporting",
    "init_experiment": "snowmelt.jobs.starting",
    "mixed_precision_for": "snowmelt.training",
    "plan_experiment": "snowmelt.jobs.planning",
    "predict_pictures": "snowmelt.jobs.predicting",
    "prepare": "snowmelt.jobs.request",
    "read_names": "snowmelt.jobs.compare_request",
    "read_request": "snowmelt.jobs.compare_request",
    "read_save": "snowmelt.jobs.predicting",
    "read_seeds": "snowmelt.jobs.compare_request",
    "read_size": "snowmelt.jobs.exporting",
    "read_tile": "snowmelt.jobs.predicting",
    "report_run": "snowmelt.jobs.page",
    "run_demo": "snowmelt.jobs.demo",
    "score_run": "snowmelt.jobs.scoring",
    "teach_experiment": "snowmelt.jobs.teaching",
    "train_experiment": "snowmelt.jobs.training",
}


def __getattr__(name: str) -> Any:
    """Import a job when it is asked for: listing the experiments needs no torch, which takes seconds to import."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
