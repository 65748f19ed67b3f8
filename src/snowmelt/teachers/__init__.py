"""Teachers: one protocol, and a file for each kind."""

from snowmelt.teachers.fitted import FittedTeacher
from snowmelt.teachers.kinds import KINDS, Kind, find_kind
from snowmelt.teachers.mapping import ClassMapping, default_mapping
from snowmelt.teachers.network import NetworkTeacher
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, Teacher, TeacherModel
from snowmelt.teachers.teaching import LiveTeaching, NamedTeaching, StoredTeaching, Teaching
from snowmelt.teachers.weights import open_run, open_weights

__all__ = [
    "KINDS",
    "ClassMapping",
    "FittedTeacher",
    "Kind",
    "LiveTeaching",
    "NamedTeaching",
    "NetworkTeacher",
    "OpenOptions",
    "StoredMaps",
    "StoredTeaching",
    "Teacher",
    "TeacherModel",
    "Teaching",
    "default_mapping",
    "find_kind",
    "open_run",
    "open_weights",
]
