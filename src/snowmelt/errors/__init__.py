"""The one exception that means "the user can mend this", and the codes of what can be mended."""

from snowmelt.errors.codes import CODES, Advice
from snowmelt.errors.mistake import SnowmeltError

__all__ = ["CODES", "Advice", "SnowmeltError"]
