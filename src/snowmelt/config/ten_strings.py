"""The ten-string settings list of the reference guide: a way in, read once and turned into typed settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from snowmelt.config.base import shown
from snowmelt.errors import SnowmeltError
from snowmelt.schedules import TEMPERATURE_KINDS, TemperatureSchedule, ThawSchedule

TEMPERATURE_MARK = "temp_scheduling"
THAW_MARK = "progressive_unfreeze"
PUBLISHED_KINDS = ("linear", "cosine", "exponential")
HALF = 5  # strings in each half: the mark, on or off, three values


def read_ten_strings(strings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Typed settings out of the published list.

    Positions 0-4 are ``"temp_scheduling"``, ``"true"|"false"``, initial and final temperature, kind; 5-9 are
    ``"progressive_unfreeze"``, ``"true"|"false"``, first thaw epoch, epochs per block, learning-rate scale. Either
    half may stand alone. Off means a constant initial temperature, or a whole encoder that learns from epoch 0 at
    the given scale; a half that is absent is off too, with the default temperature or scale.

    Returns:
        ``{"temperature": {...}, "thaw": {...}}``, keyword arguments of the two settings.

    Raises:
        SnowmeltError: anything malformed, with "position N" (from 0 in the list as given) and the reason.
    """
    if not isinstance(strings, (list, tuple)):
        raise SnowmeltError(
            f"feature_match_layers is a {type(strings).__name__}; give the list of strings", code="settings-ten-strings"
        )
    for position, value in enumerate(strings):
        if not isinstance(value, str):
            _refuse(position, f"{shown(value)} is a {type(value).__name__}, not a string; write it in quotes")
    settings: dict[str, dict[str, Any]] = {
        "temperature": {"kind": "constant"},
        "thaw": {"progressive": False},
    }
    readers: dict[str, Callable[[Sequence[str], int], dict[str, Any]]] = {
        TEMPERATURE_MARK: _read_temperature,
        THAW_MARK: _read_thaw,
    }
    remaining = {TEMPERATURE_MARK: "temperature", THAW_MARK: "thaw"}
    position = 0
    while position < len(strings):
        mark = strings[position]
        if mark not in remaining:
            _refuse_mark(strings, position, remaining)
        key = remaining.pop(mark)
        if mark == TEMPERATURE_MARK and not remaining:
            _refuse(position, f'"{TEMPERATURE_MARK}" stands before "{THAW_MARK}" in the list')
        end = position + HALF
        if len(strings) < end:
            _refuse(len(strings), f'missing; "{mark}" is followed by {HALF - 1} strings')
        settings[key] = readers[mark](strings, position)
        position = end
    return settings


def _read_temperature(strings: Sequence[str], start: int) -> dict[str, Any]:
    on = _flag(strings, start + 1)
    initial = _number(strings, start + 2, "initial temperature", float)
    final = _number(strings, start + 3, "final temperature", float)
    _check(start + 2, lambda: TemperatureSchedule("constant", initial))
    _check(start + 3, lambda: TemperatureSchedule("constant", final))
    kind = strings[start + 4]
    if kind not in PUBLISHED_KINDS:
        known = ", ".join(f'"{name}"' for name in PUBLISHED_KINDS)
        hint = "; this kind is available in the typed settings" if kind in TEMPERATURE_KINDS else ""
        _refuse(start + 4, f'"{kind}" is no kind of the list; use one of {known}{hint}')
    if not on:
        return {"kind": "constant", "initial": initial}
    return {"kind": kind, "initial": initial, "final": final}


def _read_thaw(strings: Sequence[str], start: int) -> dict[str, Any]:
    on = _flag(strings, start + 1)
    first = _number(strings, start + 2, "first thaw epoch", int)
    every = _number(strings, start + 3, "epochs per block", int)
    scale = _number(strings, start + 4, "encoder learning-rate scale", float)
    _check(start + 2, lambda: ThawSchedule(start=first))
    _check(start + 3, lambda: ThawSchedule(every=every))
    _check(start + 4, lambda: ThawSchedule(lr_scale=scale))
    if not on:
        return {"progressive": False, "lr_scale": scale}
    return {"progressive": True, "start": first, "every": every, "lr_scale": scale}


def _flag(strings: Sequence[str], position: int) -> bool:
    value = strings[position]
    if value.lower() not in ("true", "false"):
        _refuse(position, f'"{value}" is neither "true" nor "false"')
    return value.lower() == "true"


def _number(strings: Sequence[str], position: int, what: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(strings[position])
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        _refuse(position, f'{what} "{strings[position]}" is not {wanted}')


def _check(position: int, construct: Callable[[], object]) -> None:
    try:
        construct()
    except SnowmeltError as error:
        _refuse(position, str(error))


def _refuse_mark(strings: Sequence[str], position: int, remaining: dict[str, str]) -> None:
    value = strings[position]
    if value in (TEMPERATURE_MARK, THAW_MARK):
        _refuse(position, f'"{value}" stands in the list twice')
    if THAW_MARK not in remaining:
        _refuse(position, f'"{value}" is too much; nothing follows the {HALF} strings of "{THAW_MARK}"')
    expected = " or ".join(f'"{mark}"' for mark in remaining)
    _refuse(position, f'"{value}" where {expected} is expected')


def _refuse(position: int, reason: str) -> None:
    raise SnowmeltError(f"feature_match_layers, position {position}: {reason}", code="settings-ten-strings")
