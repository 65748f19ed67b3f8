"""``snowmelt export``: a run's student as one ONNX file, as weights, or as a folder to publish."""

from snowmelt.jobs.exporting.job import export_run
from snowmelt.jobs.exporting.request import ExportRequest, read_size

__all__ = ["ExportRequest", "export_run", "read_size"]
