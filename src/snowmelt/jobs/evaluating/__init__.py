"""``snowmelt evaluate``: student and teacher side by side, by class, boundary, confidence, size and brightness."""

from snowmelt.jobs.evaluating.job import evaluate_run
from snowmelt.jobs.evaluating.request import EvaluateRequest

__all__ = ["EvaluateRequest", "evaluate_run"]
