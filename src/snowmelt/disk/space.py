"""Whether there is room for what will be written, asked before it is begun."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from snowmelt.errors import SnowmeltError


@dataclass(frozen=True)
class Need:
    """``size`` bytes that will be written below ``place`` for ``what``."""

    what: str
    place: Path
    size: int


def check_space(needs: Iterable[Need], remedy: str) -> None:
    """Whether everything fits, what goes to one disk taken together. A quota that the system does not tell is not seen.

    Args:
        remedy: what to do where it does not.

    Raises:
        SnowmeltError: with what is needed, for what, and what is free.
    """
    disks: dict[int, list[Need]] = {}
    for need in needs:
        disks.setdefault(_existing(need.place).stat().st_dev, []).append(need)
    for together in disks.values():
        place = _existing(together[0].place)
        size, free = sum(need.size for need in together), shutil.disk_usage(place).free
        if size > free:
            parts = ", ".join(f"{need.what} {_megabytes(need.size)}" for need in together if need.size)
            raise SnowmeltError(
                f"{place}: about {_megabytes(size)} are needed there ({parts}), but {_megabytes(free)} are free; "
                f"{remedy}",
                code="disk-full",
            )


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.absolute().parents) if each.exists())


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"
