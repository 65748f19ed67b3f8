"""The lines and tables of a survey: whole where short, cut with a count where long."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from snowmelt.reporting import finding_line, survey_tables
from snowmelt.reporting.survey_table import CLASSES


def counts(share: float, images: int) -> dict[str, Any]:
    return {
        "pixels": int(1e6 * share),
        "share": share,
        "images": images,
        "share_of_image": share,
        "standard_error": 0.01,
    }


def content(classes: int = 3) -> dict[str, Any]:
    spread = {"min": 10.0, "median": 20.0, "max": 30.0}
    same = {"min": 5.0, "median": 5.0, "max": 5.0}
    splits = [
        {"name": "train", "images": 8, "masks": 8, "width": spread, "height": same, "aspect": spread, "sizes": 3},
        {"name": "val", "images": 2, "masks": 2, "width": same, "height": same, "aspect": same, "sizes": 1},
        {"name": "unlabelled", "images": 5, "masks": 0},
    ]
    shares = {"train": counts(1 / classes, 8), "val": counts(0.0, 0)}
    return {
        "splits": splits,
        "classes": [{"id": i, "name": f"class {i}", "splits": shares} for i in range(classes)],
        "ignored": {"train": counts(0.0, 0), "val": counts(0.0, 0)},
    }


def printed(what: dict[str, Any], width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    for table in survey_tables(what):
        console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_sizes_that_do_not_vary_are_one_number() -> None:
    lines = printed(content()).splitlines()
    train = next(line for line in lines if line.strip().startswith("train"))
    assert " ".join(train.split()) == "train 8 8 10 / 20 / 30 5 10.00 / 20.00 / 30.00"
    unlabelled = next(line for line in lines if "unlabelled" in line)
    assert unlabelled.split() == ["unlabelled", "5", "-", "-", "-", "-"]


def test_a_class_that_is_absent_has_no_share() -> None:
    row = next(line for line in printed(content()).splitlines() if "class 1" in line)
    assert row.split() == ["class", "1", "33.33", "%", "8", "-", "0"]


def test_ignored_pixels_have_a_row_only_where_there_are_any() -> None:
    what = content()
    assert "(ignored)" not in printed(what)
    what["ignored"]["val"] = counts(0.02, 1)
    assert "(ignored)" in printed(what)


def test_many_classes_are_cut_with_a_count() -> None:
    text = printed(content(CLASSES + 7))
    assert f"class {CLASSES - 1} " in text
    assert f"class {CLASSES} " not in text
    assert "and 7 more classes" in text


def test_a_line_names_the_first_files_and_counts_the_others() -> None:
    files = [{"file": f"/data/set/masks/{i}.png", "split": "train"} for i in range(5)]
    files[1]["detail"] = "value 9"
    files[2]["other"] = "/elsewhere/0.png"
    finding = {"what": "5 masks odd", "do": "look", "count": 5, "files": files}
    assert finding_line(finding, "/data/set") == (
        "5 masks odd: masks/0.png, masks/1.png (value 9), masks/2.png = /elsewhere/0.png (2 more); look"
    )
    assert finding_line({"what": "few", "do": "", "count": 0, "files": []}, "/data/set") == "few"
