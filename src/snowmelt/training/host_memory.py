"""How much memory a machine has left for a process: the machine itself, and the control groups that hold it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

MEMINFO = Path("/proc/meminfo")
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def host_room() -> int:
    """Bytes that could still be had: the least of what the machine and each control group around the process leave.

    Where the system does not say what is available (macOS), it is what the machine has built in, which is too much.
    """
    available = read_kib(MEMINFO, "MemAvailable")
    if available is None:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(0, min([available, *cgroup_rooms(OWN_CGROUPS, CGROUPS)]))


def cgroup_rooms(membership: Path, mounted: Path) -> Iterator[int]:
    """What each memory control group around the process leaves, in bytes; groups without a limit are left out.

    Both versions. A container often sees its own group as the root of the mount while its path is that of the host, so
    a path that is not there is taken for the root. Files that can be dropped from memory at any time do not count as
    held.
    """
    for line in _lines(membership):
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, limits, usages, idle = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limits, usages = mounted / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            idle = "total_inactive_file"
        else:
            continue
        for folder in _upwards(root, path):
            limit, usage = _number(folder / limits), _number(folder / usages)
            if limit is not None and usage is not None:
                yield limit - usage + _statistic(folder / "memory.stat", idle)


def read_kib(path: Path, key: str) -> int | None:
    """The bytes behind ``key`` in a file of lines ``key:   number kB``; ``None`` where there is none."""
    for line in _lines(path):
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    return None


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The group's folder and those above it, down to the root of the mount, as far as they are there."""
    inside = PurePosixPath(path.lstrip("/"))
    if ".." in inside.parts:  # a group outside what this process may see
        inside = PurePosixPath()
    for part in (inside, *inside.parents):
        if (root / part).is_dir():
            yield root / part


def _number(path: Path) -> int | None:
    """``max`` (no limit) and a file that is not there are no number."""
    text = "".join(_lines(path)).strip()
    return int(text) if text.isdecimal() else None


def _statistic(path: Path, key: str) -> int:
    for line in _lines(path):
        name, _, value = line.partition(" ")
        if name == key and value.isdecimal():
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
