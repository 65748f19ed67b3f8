"""What the list of codes says about each of them."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """What a code means, and what to do then; one sentence each, without a full stop."""

    meaning: str
    to_do: str
