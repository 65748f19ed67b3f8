"""An evaluation as tables: both side by side, absent classes said to be absent, whole on a narrow console."""

from __future__ import annotations

import io
from typing import Any

import pytest
from evaluated import evaluated
from rich.console import Console

from snowmelt.reporting import evaluation_tables


def printed(content: dict[str, Any], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    for table in evaluation_tables(content):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def row(text: str, name: str) -> list[str]:
    return next(line.split() for line in text.splitlines() if line.strip().startswith(name))


def test_student_and_teacher_stand_side_by_side() -> None:
    said = printed(evaluated())
    assert "tiny on 20 test images" in said
    assert row(said, "background") == ["background", *["0.5000", "0.7500"] * 3]
    assert row(said, "mean") == ["mean", *["0.5000", "0.7500"] * 3]
    assert row(said, "class_2") == ["class_2", *["absent"] * 6]
    assert ["class_1", "-", "-", "0.5000", "0.7500"] in [line.split() for line in said.splitlines()]
    assert row(said, "calibration error (ECE)")[-2:] == ["0.0321", "0.0321"]
    assert row(said, "agrees with the teacher")[-2:] == ["0.9000", "-"]
    assert row(said, "small") == ["small", "0", "to", "1", "%", "7", "0.4000", "0.5000"]
    assert row(said, "dark") == ["dark", "3.2", "to", "40", "7", "0.4000", "0.5000"]
    assert row(said, "0001.jpg") == ["0001.jpg", "0.1250", "0.2500"]
    assert "within 0.75 % of the image's diagonal" in said


def test_a_student_alone() -> None:
    said = printed(evaluated(teacher=False))
    assert "teacher" not in said
    assert row(said, "background") == ["background", *["0.5000"] * 3]
    assert row(said, "0001.jpg") == ["0001.jpg", "0.1250"]


def test_what_is_not_there_has_no_table() -> None:
    said = printed(evaluated(by_size=[], by_brightness=[], worst=[]))
    assert "size" not in said
    assert "worst" not in said


@pytest.mark.parametrize("width", [40, 80, 160])
def test_sixty_classes_are_all_there_on_any_console(width: int) -> None:
    said = printed(evaluated(classes=60), width)
    assert all(any(f"class_{index} " in line for line in said.splitlines()) for index in range(1, 60))
    assert max(len(line.rstrip()) for line in said.splitlines()) <= width
    assert "…" not in said
