"""A folder that one process has for itself.

The lock is the kernel's (``flock``), so it ends with the process, however that ends, and a lock file that is still
there says nothing by itself. What it holds is for people, and for the two cases in which the kernel is no witness: file
systems without locks, and those of a network that may not tell one machine of another's.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import weakref
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from snowmelt.disk.writing import WriteError
from snowmelt.errors import SnowmeltError

NETWORKED = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "gluster", "afs", "9p", "virtiofs", "fuse")
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_JOB_KEYS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: the process ``pid`` on ``host``, ``since`` a time, within the scheduler's ``job``."""

    host: str
    pid: int
    since: str
    job: str | None = None

    @classmethod
    def here(cls) -> Holder:
        """This process."""
        job = next((os.environ[key] for key in _JOB_KEYS if os.environ.get(key)), None)
        return cls(socket.gethostname(), os.getpid(), datetime.now().astimezone().isoformat(timespec="seconds"), job)

    @property
    def is_gone(self) -> bool:
        """Whether it surely lives no more: a process of this machine that is not there.

        Or a part of this process's own job: a scheduler that puts a job back has ended it before.
        """
        here = Holder.here()
        if self.job is not None and self.job == here.job and self.host != here.host:
            return True
        if self.host != here.host:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Held(SnowmeltError):
    """Somebody else holds the lock.

    Attributes:
        holder: ``None`` in the moment in which it is not yet said who.
        doubtful: the kernel cannot tell whether that process still lives.
    """

    def __init__(self, path: Path, holder: Holder | None, doubtful: bool) -> None:
        self.path = path
        self.holder = holder
        self.doubtful = doubtful
        self.who = "another process" if holder is None else str(holder)
        self.advice = f"if that has ended, remove {path}" if doubtful else "wait for it"
        super().__init__(f"{path}: held by {self.who}; {self.advice}", code="run-busy")


class Lock:
    """``path`` is this process's until ``release`` or its end. Children that it forks do not keep it.

    Args:
        path: the lock file; its folder is made where it is not there.

    Raises:
        Held: another process has it.
        WriteError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor: int | None = self._take()
        except OSError as error:
            raise WriteError(path, error) from error
        _open.add(self)

    def release(self) -> None:
        """Give it up; the lock file goes with it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):  # the folder may be gone
            if _same_file(descriptor, self.path):
                self.path.unlink()
        os.close(descriptor)

    def forget(self) -> None:
        """Close this process's own handle, in a child that was forked: its parent has the lock."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _take(self) -> int:
        while True:
            descriptor, new = _open_or_make(self.path)
            try:
                if self._lock(descriptor, new):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # the file was replaced or removed in between

    def _lock(self, descriptor: int, new: bool) -> bool:
        """Whether ``descriptor`` has the lock and is what ``path`` leads to."""
        kernel = True
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Held(self.path, _read(descriptor), doubtful=False) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            kernel = False
        if not _same_file(descriptor, self.path):
            return False
        if not new and not self._is_free(_read(descriptor), kernel):
            raise Held(self.path, _read(descriptor), doubtful=True)
        if not new and not kernel:
            self.path.unlink(missing_ok=True)  # whoever makes it anew has it
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Holder.here())).encode(), 0)
        os.fsync(descriptor)
        return True

    def _is_free(self, left: Holder | None, kernel: bool) -> bool:
        """Whether a lock file that was there is a leftover; ``kernel``: its lock could be had."""
        if left is None:
            return kernel
        return left.is_gone or (kernel and (left.host == socket.gethostname() or not is_networked(self.path)))


def _open_or_make(path: Path) -> tuple[int, bool]:
    """An open lock file, and whether it was made now."""
    while True:
        with suppress(FileExistsError):
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), True
        with suppress(FileNotFoundError):  # removed in between
            return os.open(path, os.O_RDWR | os.O_CLOEXEC), False


def holder_of(path: Path) -> Holder | None:
    """Who holds ``path`` now, as far as this machine's kernel knows; ``None`` where nobody does."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    except OSError:
        found = _read(descriptor)
        return None if found is None or found.is_gone else found
    finally:
        os.close(descriptor)
    return None


def is_networked(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> bool:
    """Whether ``path`` lies on a file system that other machines may write to as well, by its type.

    ``False`` where the system does not say.
    """
    place = os.path.realpath(path)
    kind, longest = "", -1
    for point, name in _mounts(mounts):
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:  # of several mounts on one point, the last is seen
            kind, longest = name, len(point)
    return kind.startswith(NETWORKED)


def _mounts(path: Path) -> Iterator[tuple[str, str]]:
    """Mount point and type of each mount."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return
    for line in lines:
        left, _, right = line.partition(" - ")
        parts, kinds = left.split(), right.split()
        if len(parts) > 4 and kinds:
            yield parts[4].encode().decode("unicode_escape"), kinds[0]


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def _read(descriptor: int) -> Holder | None:
    try:
        return Holder(**json.loads(os.pread(descriptor, 4096, 0)))
    except (OSError, ValueError, TypeError):
        return None  # being written, or not ours


# A child that was forked would keep the lock beyond its parent's end: data workers outlive it by seconds.
_open: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_open):
        lock.forget()


os.register_at_fork(after_in_child=_forget_all)
