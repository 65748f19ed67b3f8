"""What the page says in a sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from snowmelt.reporting import RunFolder
from snowmelt.reporting.page.reading import RunContent, Sheet, read_run
from snowmelt.reporting.page.words import Plain, duration, key_figures, name_for_commands, verdict


def content_with(tmp_path: Path, student: float | None, teacher: float | None, **more: Any) -> RunContent:
    sheet = Sheet(
        "x.json", "test", 16, ("a",), {"miou": student, "iou": {}}, teacher and {"miou": teacher, "iou": {}}, 0.9
    )
    record = {"reason": "complete", "best_miou": 0.5, "best_epoch": 3, "step": 1}
    return replace(read_run(RunFolder(tmp_path)), **{"record": record, "sheets": (sheet,), **more})


@pytest.mark.parametrize(
    ("student", "teacher", "expected"),
    [
        (
            0.45,
            0.6,
            "0.4500 on 16 test images, 0.1500 below its teacher (0.6000), 75.0 % of it.",
        ),
        (0.6, 0.6, "0.6000 on 16 test images, level with its teacher (0.6000)."),
        (0.7, 0.6, "0.7000 on 16 test images, 0.1000 above its teacher (0.6000)."),
        (0.7, None, "0.7000 on 16 test images."),
    ],
)
def test_against_the_teacher(tmp_path: Path, student: float | None, teacher: float | None, expected: str) -> None:
    assert verdict(content_with(tmp_path, student, teacher)) == f"The student reaches mIoU {expected}"


def test_without_a_score(tmp_path: Path) -> None:
    assert verdict(content_with(tmp_path, None, 0.6)) == "Nothing was scored in this run."


def test_against_plain_on_the_images_that_both_were_scored_on(tmp_path: Path) -> None:
    content = content_with(tmp_path, 0.7, None)
    said = verdict(content, Plain("plain", 0.52))
    assert said.endswith(" On validation it is 0.0200 below the best plain student here, plain (0.5200).")
    assert "plain" not in verdict(content, Plain(content.name, 0.5))  # it is the best itself


def test_a_teacher_is_called_one_and_a_run_under_way_too(tmp_path: Path) -> None:
    content = content_with(tmp_path, 0.7, None)
    assert verdict(content, teaches=True).startswith("The teacher reaches")
    under_way = replace(content, record={}, metrics=[{"epoch": 0}, {"epoch": 1}], plan=[{"epoch": 9}])
    assert verdict(under_way).startswith("2 of 10 epochs are done; so far the student reaches mIoU 0.7000")
    assert verdict(replace(under_way, sheets=())) == "No epoch is over yet: there is nothing to score."


def test_key_figures(tmp_path: Path) -> None:
    rows = [{"name": "teacher", "latency_ms": 80.0}, {"name": "int8", "latency_ms": 10.0}, {"name": "no"}, 3]
    timing = [{"train_seconds": 100.0, "score_seconds": 50.0, "images_per_second": 7.0}]
    content = content_with(tmp_path, 0.45, 0.6, benchmark={"rows": rows}, timing=timing)
    found = {figure.label: (figure.value, figure.note) for figure in key_figures(content)}
    assert found["student mIoU"] == ("0.4500", "on 16 test images")
    assert found["teacher mIoU"] == ("0.6000", "on the same images; the student has 75.0 %")
    assert found["agreement"][0] == "90.0 %"
    assert found["training time"] == ("2 min 30 s", "7.0 images/s")
    assert found["latency"] == ("10.0 ms", "int8, 8.0 times as quick as the teacher")


@pytest.mark.parametrize(
    ("seconds", "text"), [(59.4, "59 s"), (60, "1 min 00 s"), (3599.6, "1 h 00 min"), (7500, "2 h 05 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_commands_name_the_run_as_a_shell_takes_it(tmp_path: Path) -> None:
    named = replace(content_with(tmp_path, 1, 1), folder=RunFolder(Path("experiments") / "a b"))
    assert name_for_commands(named) == "'a b'"
    assert name_for_commands(replace(named, folder=RunFolder(Path("other/run")))) == "other/run"
