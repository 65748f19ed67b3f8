"""Files and folders: written whole or not at all, held against others, and room for them."""

from snowmelt.disk.locks import Held, Holder, Lock, holder_of
from snowmelt.disk.writing import WriteError, append_whole, named, replacing, second_name

__all__ = [
    "Held",
    "Holder",
    "Lock",
    "WriteError",
    "append_whole",
    "holder_of",
    "named",
    "replacing",
    "second_name",
]
