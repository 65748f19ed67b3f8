"""Answers of a teacher, computed once per picture and stored: what a run with a teacher costs beside one without."""

from __future__ import annotations

from snowmelt.teachers.cache.asking import Answers, answers_of_maps, answers_of_teacher
from snowmelt.teachers.cache.choice import TOLERANCE, Effect, candidates, choose, measure
from snowmelt.teachers.cache.encoding import Encoding
from snowmelt.teachers.cache.filling import FillReport, digests_of, fill, probe
from snowmelt.teachers.cache.resampling import resample
from snowmelt.teachers.cache.store import TeacherCache, find_effects, open_cache
from snowmelt.teachers.cache.view import StoredMapView

__all__ = [
    "TOLERANCE",
    "Answers",
    "Effect",
    "Encoding",
    "FillReport",
    "StoredMapView",
    "TeacherCache",
    "answers_of_maps",
    "answers_of_teacher",
    "candidates",
    "choose",
    "digests_of",
    "fill",
    "find_effects",
    "measure",
    "open_cache",
    "probe",
    "resample",
]
