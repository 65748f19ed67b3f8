"""What a run's own curves suggest for the next one, in the words of the published guide.

Advice is no promise: what the guide says was never measured, and a curve says what happened, not what would have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from snowmelt.study import rules
from snowmelt.study.curves import Curves, read_curves
from snowmelt.study.rules import Found, RunFacts

MOST = 4
"""Pieces of advice a run gets: who is told ten things tries none."""


@dataclass(frozen=True)
class Advice:
    """One thing to try.

    Attributes:
        kind: the rule's name, as docs/advice.md lists it.
        text: what was seen and what it suggests.
        figure: the numbers that it rests on.
        settings: ``a.b=c`` for ``--set``, one each; empty where no setting helps.
        source: ``curve``: follows from what this run did; ``guide``: the published guide says so, unmeasured.
    """

    kind: str
    text: str
    figure: str
    settings: tuple[str, ...]
    source: Literal["curve", "guide"]

    def line(self) -> str:
        """All of it in one line."""
        parts = [f"{self.kind}: {self.text} ({self.figure})"]
        if self.source == "guide":
            parts.append("published advice, unmeasured")
        if self.settings:
            parts.append("to try it: " + " ".join(f"--set {setting}" for setting in self.settings))
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "settings": list(self.settings)}


@dataclass(frozen=True)
class _Rule:
    kind: str
    source: Literal["curve", "guide"]
    find: Callable[[Curves, RunFacts], Found | None]
    against: tuple[str, ...] = ()  # kinds above it that it would contradict


# What went wrong in this run comes first, then what it lacked, then what the guide says of runs like it.
RULES = (
    _Rule("fell after a thaw", "curve", rules.fall_after_thaw),
    # Who is told to stop before a block is told nothing else about thawing.
    _Rule("overfitting", "guide", rules.overfitting, against=("fell after a thaw",)),
    _Rule("jump at a thaw", "curve", rules.jump_at_thaw, against=("fell after a thaw",)),
    _Rule("unstable", "curve", rules.unstable),
    _Rule("weak teacher", "curve", rules.weak_teacher),
    # Who overfits has learnt too long already, and who should stop before a block need not wait for the others.
    _Rule("not all thawed", "curve", rules.unthawed, against=("fell after a thaw", "overfitting")),
    _Rule("slow", "curve", rules.slow, against=("overfitting",)),
    _Rule("fine-tuning", "guide", rules.fine_tuning, against=("not all thawed", "slow")),
    # The guide's remedy for slow curves is hotter and later, for students that are nearly there cooler.
    _Rule(
        "slow, by the guide", "guide", rules.slow_published, against=("overfitting", "not all thawed", "fine-tuning")
    ),
    # A hundredth of the rate would slow down further what is slow, and later thaws come too late where time ran out.
    # They also take more epochs, which is not for who overfits or thaws fewer blocks.
    _Rule(
        "small data",
        "guide",
        rules.small_data,
        against=("fell after a thaw", "overfitting", "not all thawed", "slow", "fine-tuning", "slow, by the guide"),
    ),
)


def advise(rows: Sequence[Mapping[str, Any]], facts: RunFacts) -> list[Advice]:
    """What the rows of metrics.csv suggest, the most telling first, at most ``MOST``; empty if there is nothing to say.

    No two contradict each other: a rule is left out where one above it says the opposite, and no setting is given two
    values. Columns that are absent and figures that are no numbers silence the rules that need them, and nothing else.
    """
    curves = read_curves(rows)
    given: list[Advice] = []
    taken: dict[str, Any] = {}
    for rule in RULES if len(curves) else ():
        if len(given) == MOST or any(before.kind in rule.against for before in given):
            continue
        found = rule.find(curves, facts)
        if found is None:
            continue
        text, figure, settings = found
        rest = {path: value for path, value in settings.items() if path not in taken}
        if settings and not rest:
            continue  # all of it is said already, or said otherwise
        taken.update(rest)
        given.append(Advice(rule.kind, text, figure, tuple(map(_spell, rest, rest.values())), rule.source))
    return given


def _spell(path: str, value: Any) -> str:
    return f"{path}={str(value).lower() if isinstance(value, bool) else value}"
