"""What is wrong or odd about a data set: one finding a kind, with every file that it concerns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Item:
    """One file of a finding. ``detail``: what is special about it; ``other``: a second file that it is about.

    ``code``: of the error with which training would name this file, where they differ within a finding.
    """

    file: str
    split: str
    detail: str = ""
    other: str = ""
    code: str = ""

    def to_dict(self) -> dict[str, str]:
        return {key: value for key, value in vars(self).items() if value}


@dataclass(frozen=True)
class Finding:
    """``what`` and ``advice`` are half-sentences without a full stop; an ``error`` is what training refuses.

    ``code``: of an error, the stable code with which training refuses it; see ``snowmelt.errors.CODES``.
    """

    level: Level
    kind: str
    what: str
    advice: str
    items: list[Item] = field(default_factory=list)
    code: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "kind": self.kind,
            **({"code": self.code} if self.code else {}),
            "what": self.what,
            "do": self.advice,
            "count": len(self.items),
            "files": [item.to_dict() for item in self.items],
        }


def plural(count: int, one: str, many: str = "") -> str:
    """``1 image``, ``2 images``."""
    return f"{count} {one if count == 1 else many or one + 's'}"
