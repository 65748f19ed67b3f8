"""Predicting with a run's student or an exported file."""

from snowmelt.jobs.predicting.job import predict_pictures
from snowmelt.jobs.predicting.request import PredictRequest, read_save, read_tile

__all__ = ["PredictRequest", "predict_pictures", "read_save", "read_tile"]
