"""``snowmelt benchmark``: what teacher and student cost on this machine, in every form."""

from snowmelt.jobs.benchmarking.job import BenchmarkRequest, benchmark_run

__all__ = ["BenchmarkRequest", "benchmark_run"]
