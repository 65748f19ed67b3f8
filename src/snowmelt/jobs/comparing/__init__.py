"""``snowmelt compare``: the same student trained in several ways over several seeds, and what that shows."""

from snowmelt.jobs.comparing.job import compare_experiment
from snowmelt.jobs.comparing.request import CompareRequest, read_names, read_seeds

__all__ = ["CompareRequest", "compare_experiment", "read_names", "read_seeds"]
