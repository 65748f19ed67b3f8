"""Files and folders: written whole or not at all, held against others, and room for them."""

from snowmelt.disk.locks import Held, Holder, Lock, holder_of
from snowmelt.disk.space import Need, check_space
from snowmelt.disk.writing import GrowingFile, WriteError, append_whole, named, replacing, second_name

__all__ = [
    "GrowingFile",
    "Held",
    "Holder",
    "Lock",
    "Need",
    "WriteError",
    "append_whole",
    "check_space",
    "holder_of",
    "named",
    "replacing",
    "second_name",
]
