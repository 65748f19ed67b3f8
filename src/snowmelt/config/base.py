"""What all settings classes have in common: closed, checked, with one-line errors."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from snowmelt.errors import SnowmeltError

Problem = tuple[str, str]  # dotted path of a setting, and what is wrong with it

_MOST = 10  # wrong settings that one line tells of
_CLOSE = 0.7  # of a name; at difflib's own 0.6 "width" is a slip of "depth"
_WIDEST = 200  # characters of a value in a line
_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxlist, _BRIEF.maxdict, _BRIEF.maxstring, _BRIEF.maxother = 3, 12, 8, 120, 120


class SettingsError(SnowmeltError):
    """One or more wrong settings in one line. ``problems`` lets an outer section put its own name before each path."""

    problems: tuple[Problem, ...] = ()


class Settings(BaseModel):
    """Base of the settings: an unknown name is an error, every value is checked on construction and assignment.

    Raises:
        SnowmeltError: one line that names each wrong setting by its path, the reason and the value given.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, validate_assignment=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise describe(error, type(self).model_fields) from None

    def __setattr__(self, name: str, value: Any) -> None:
        before = dict(self.__dict__)
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            self.__dict__.update(before)  # a check of the whole section fails with the new value in place
            raise describe(error, type(self).model_fields) from None


def describe(error: ValidationError, known: Iterable[str] = ()) -> SettingsError:
    """A validation error as one line: ``data.image_size: Input should be ... (given 7)``.

    Args:
        known: the names of the section, of which the nearest is told where there is none of the name that was given.
    """
    problems = tuple(problem for item in error.errors(include_url=False) for problem in _problems(item, known))
    text = "; ".join(f"{path}: {reason}" if path else reason for path, reason in problems[:_MOST])
    text += f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    described = SettingsError(text, code=_code_of(error.errors(include_url=False)[0]))
    described.problems = problems
    return described


def _code_of(item: Any) -> str:
    """The code of one problem; what a check of ours refused keeps the code that it has anywhere else."""
    if item["type"] == "extra_forbidden":
        return "settings-unknown"
    cause = item["ctx"]["error"] if item["type"] == "value_error" else None
    return cause.code if isinstance(cause, SnowmeltError) else "settings-value"


def shown(value: Any) -> str:
    """``repr`` within a line: a few lines of YAML, whose aliases repeat each other, can stand for a billion values."""
    text = " ".join(_BRIEF.repr(value).split())
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST]}..."


def _problems(item: Any, known: Iterable[str]) -> list[Problem]:
    path = ".".join(str(key) for key in item["loc"])
    if item["type"] == "extra_forbidden":
        # Each section refuses its own names, so the last part of the path is the one that is not known.
        close = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=_CLOSE)
        return [(path, "there is no such setting" + "".join(f" (did you mean {name!r}?)" for name in close))]
    if item["type"] != "value_error":
        return [(path, f"{item['msg']} (given {shown(item['input'])})")]
    cause = item["ctx"]["error"]
    if isinstance(cause, SettingsError):
        return [(".".join(filter(None, (path, inner))), reason) for inner, reason in cause.problems]
    reason = str(cause)
    # The published list names itself, since its positions count within it.
    names_itself = bool(path) and reason.startswith(path.rsplit(".", 1)[-1] + ",")
    return [("", reason)] if names_itself else [(path, reason)]
