"""CSV whose numbers come back exactly as they went in, and whole-file writes that cannot be cut in half."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from snowmelt.disk import replacing
from snowmelt.errors import SnowmeltError

Value = float | int | bool | str | None
Row = dict[str, Value]


def format_cell(value: Value) -> str:
    """``None`` is an empty cell, a bool ``true`` or ``false``, a float its shortest exact form (``nan`` included)."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(float(value))  # float() first: a numpy scalar would print its type
    return str(value)


def parse_cell(text: str) -> Value:
    """The value behind ``text``: the inverse of ``format_cell``, for everything but number-like strings."""
    if text == "":
        return None
    if text in ("true", "false"):
        return text == "true"
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def csv_line(cells: Iterable[Value]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow([format_cell(cell) for cell in cells])
    return buffer.getvalue()


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Value]]) -> str:
    """Header and rows; a row lacking a column has an empty cell there."""
    lines = [csv_line(columns)]
    lines.extend(csv_line(row.get(column) for column in columns) for row in rows)
    return "".join(lines)


def read_csv(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and typed rows. A last line that a crash cut short is left out.

    Raises:
        SnowmeltError: the file is missing or is no UTF-8 text.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SnowmeltError(
            f"{path}: cannot be read ({error}); it is written by a training run", code="file-unreadable"
        ) from error
    whole = text[: text.rfind("\n") + 1]
    lines = list(csv.reader(io.StringIO(whole)))
    if not lines:
        return [], []
    columns = lines[0]
    rows = [dict(zip(columns, map(parse_cell, line), strict=True)) for line in lines[1:] if len(line) == len(columns)]
    return columns, rows


def replace_file(path: Path, text: str) -> None:
    """Write the whole file so that a reader, or a crash, meets the old or the new one and nothing between.

    Raises:
        WriteError: it cannot be written.
    """
    with replacing(path) as file:
        file.write(text.encode())
