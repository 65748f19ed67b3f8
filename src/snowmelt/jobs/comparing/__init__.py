"""``snowmelt compare``: the same student trained in several ways over several seeds, and what that shows."""

from snowmelt.jobs.comparing.job import compare_experiment

__all__ = ["compare_experiment"]
