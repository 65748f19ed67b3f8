"""What all settings classes have in common: closed, checked, with one-line errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from snowmelt.errors import SnowmeltError


class Settings(BaseModel):
    """Base of the settings: an unknown name is an error, every value is checked on construction.

    Raises:
        SnowmeltError: one line that names each wrong setting by its path, the reason and the value given.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, validate_assignment=True)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SnowmeltError(describe(error)) from None


def describe(error: ValidationError) -> str:
    """A validation error as one line: ``data.image_size: Input should be ... (given 7)``."""
    parts = []
    for item in error.errors(include_url=False):
        path = ".".join(str(key) for key in item["loc"])
        if item["type"] == "extra_forbidden":
            reason = "there is no such setting"
        elif item["type"] == "value_error":
            reason = str(item["ctx"]["error"])
        else:
            reason = f"{item['msg']} (given {item['input']!r})"
        parts.append(_join(path, reason))
    return "; ".join(parts)


def _join(path: str, reason: str) -> str:
    # A nested settings object reports its own path first; the two together read as one dotted path.
    if not path or reason.startswith(path.rsplit(".", 1)[-1] + ","):
        return reason
    head = reason.split(":", 1)[0]
    separator = "." if ":" in reason and all(part.isidentifier() for part in head.split(".")) else ": "
    return f"{path}{separator}{reason}"
