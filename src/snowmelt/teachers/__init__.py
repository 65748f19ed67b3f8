"""Teachers: one protocol, and a file for each kind."""

from snowmelt.teachers.kinds import KINDS, Kind, find_kind
from snowmelt.teachers.network import NetworkTeacher
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, Teacher, TeacherModel

__all__ = [
    "KINDS",
    "Kind",
    "NetworkTeacher",
    "OpenOptions",
    "StoredMaps",
    "Teacher",
    "TeacherModel",
    "find_kind",
]
