"""Teachers: one protocol, and a file for each kind."""

from snowmelt.teachers.network import NetworkTeacher
from snowmelt.teachers.protocol import Teacher

__all__ = ["NetworkTeacher", "Teacher"]
