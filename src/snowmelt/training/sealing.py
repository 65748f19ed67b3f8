"""Checkpoint files that vouch for themselves: what was written is what is read, or it is said what is wrong.

PyTorch's files are ZIP archives, and ``torch.load`` compares none of their checksums: a bit that flipped in a weight
comes back as another weight. So the archive gets a comment, which ZIP allows at its end, with a digest of all that is
before it. PyTorch reads such a file as any other.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
from pathlib import Path
from typing import IO, Any

import torch

from snowmelt.disk import replacing
from snowmelt.errors import SnowmeltError

MAGIC = b"snowmelt sealed\n"
_FIXED = struct.Struct(f"<{len(MAGIC)}sQ32s")  # magic, length of the whole file, SHA-256 of all before it
_NO_COMMENT = b"\x00\x00"  # the length of the archive's comment, its last two bytes
_END = b"PK\x05\x06"
_END_BYTES = 22
_START = b"PK\x03\x04"
_FIRST_ENTRY = b"/data.pkl"
_BLOCK = 1 << 24
_ALIKE = 12  # bytes of the magic that are left after a few bits flipped in it


class Damaged(SnowmeltError):
    """A checkpoint that cannot be gone on from. ``what`` says in which way, without the file's name."""

    def __init__(self, path: Path, what: str, code: str = "checkpoint-damaged") -> None:
        self.path = path
        self.what = what
        super().__init__(f"{path}: {what}", code=code)


def write_sealed(path: Path, content: dict[str, Any], keep: Path | None = None) -> None:
    """Save ``content`` in place of ``path``, whole or not at all; ``keep`` gets the old. Raises ``WriteError``."""
    with replacing(path, keep) as file:
        sealed = _Sealed(file)
        torch.save({**content, "sealed": True}, sealed)  # type: ignore[arg-type]  # it writes and flushes, no more
        sealed.close()


def read_sealed(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU; older ones have no seal, and are read as they are.

    Raises:
        Damaged: empty, cut short, bits that differ from what was written, no checkpoint, or not readable.
    """
    try:
        sealed = _is_sealed(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # hints for developers about archives that are refused below anyway
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise Damaged(path, f"cannot be read ({(error.strerror or str(error)).lower()})") from error
    except Damaged:
        raise
    except Exception as error:  # damaged opcodes make torch's reader raise whatever they stumble over
        raise Damaged(path, f"is damaged or no checkpoint of Snowmelt ({type(error).__name__})") from error
    if not isinstance(content, dict) or "format" not in content:
        raise Damaged(path, "is no checkpoint of Snowmelt")
    if content.get("sealed") and not sealed:
        raise Damaged(path, "is damaged: its seal is gone")
    return content


def _is_sealed(path: Path) -> bool:
    """Whether the file has a seal that fits; ``False`` for an older one. Raises ``Damaged`` for anything else."""
    with path.open("rb", buffering=0) as file:
        size = file.seek(0, 2)
        if size == 0:
            raise Damaged(path, "is empty")
        file.seek(max(0, size - _FIXED.size - _END_BYTES))
        end = file.read()
        magic, length, digest = _FIXED.unpack(end[-_FIXED.size :].rjust(_FIXED.size, b"\x00"))
        if magic == MAGIC and length == size and digest == _digest_of(file, size - len(digest)):
            return True
        if length == size or sum(map(int.__eq__, magic, MAGIC)) >= _ALIKE:
            raise Damaged(path, "is damaged: its bits are not those that were written")
        file.seek(0)
        start = file.read(64)
    if start[: len(_START)] != _START[: len(start)] or (len(start) == 64 and _FIRST_ENTRY not in start):
        raise Damaged(path, "is no checkpoint of Snowmelt")
    if end[-_END_BYTES:][: len(_END)] != _END or end[-len(_NO_COMMENT) :] != _NO_COMMENT:
        raise Damaged(path, f"is cut short: it ends after {size} bytes, without its seal")
    return False


def _digest_of(file: Any, count: int) -> bytes:
    """SHA-256 of the first ``count`` bytes."""
    file.seek(0)
    digest = hashlib.sha256()
    while count > 0 and (block := file.read(min(_BLOCK, count))):
        digest.update(block)
        count -= len(block)
    return digest.digest()


class _Sealed:
    """What ``torch.save`` writes to: passes all on but for the last two bytes, in whose place the seal comes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._length = 0
        self._held = b""
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < len(_NO_COMMENT):
            view = memoryview(self._held + bytes(view))
        else:
            self._pass_on(self._held)
        cut = max(0, len(view) - len(_NO_COMMENT))
        self._pass_on(view[:cut])
        self._held = bytes(view[cut:])
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        """Write the seal. Raises the ``OSError`` that any write has met."""
        assert self._held == _NO_COMMENT, "an archive of PyTorch ends without a comment"
        self._pass_on(struct.pack("<H", _FIXED.size))
        length = self._length + _FIXED.size
        self._pass_on(MAGIC + struct.pack("<Q", length))
        self._pass_on(self._digest.digest())
        if self._error is not None:
            raise self._error

    def _pass_on(self, data: bytes | memoryview) -> None:
        # An error that went through PyTorch's C++ would come out as another one, about positions in an archive.
        if self._error is not None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._error = error
            return
        self._digest.update(data)
        self._length += len(data)
