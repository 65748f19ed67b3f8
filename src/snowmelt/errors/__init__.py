"""The exception that means "the user can mend this", the codes of what can be mended, and the one of a stopped run."""

from snowmelt.errors.codes import CODES, Advice
from snowmelt.errors.mistake import SnowmeltError
from snowmelt.errors.stopped import Stopped

__all__ = ["CODES", "Advice", "SnowmeltError", "Stopped"]
