"""Reading a run folder that is whole, half written, or hardly there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_pages import evaluation, fill

from snowmelt.reporting import RunFolder
from snowmelt.reporting.page import make_page, read_run

CLASSES = ("background", "person")


def write(folder: RunFolder, name: str, content: Any) -> None:
    path = folder.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_finished_run(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    content = read_run(fill(folder, fake_run()))
    assert (content.epochs, len(content.metrics), content.runs) == (6, 6, False)
    assert content.settings == {"name": "fake", "seed": 0, "reactions": {"thaw_guard": False}}
    assert content.provenance["versions"] == {"python": "3.11"}
    assert content.warnings == ["a warning of this run"]
    assert content.log[-1].endswith("  - a warning of this run")
    assert content.doubts == []
    [sheet] = content.sheets
    assert (sheet.file, sheet.split, sheet.classes) == ("validation.json", "val", CLASSES)
    assert sheet.student["miou"] == content.metrics[-1]["miou"]
    assert sheet.agreement == content.metrics[-1]["agreement"]


def test_a_run_that_trains_with_a_line_cut_in_half(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run(), done=3)
    with folder.metrics_file.open("a") as file:
        file.write("3,8,true,2.5,0.")
    (folder.root / "summary.json").write_text('{"reason": "comp')
    content = read_run(folder)
    assert (content.epochs, len(content.metrics), content.runs) == (6, 3, True)
    assert [doubt.split(":")[0] for doubt in content.doubts] == ["summary.json"]
    html, _ = make_page(content)
    assert "3 of 6 epochs are done" in html
    assert "now: 3 of 6 epochs done" in html


def test_a_run_that_goes_on_after_its_record_is_not_over(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run(), done=3)
    write(folder, "summary.json", {"reason": "max_steps", "step": 4})
    assert read_run(folder).runs
    write(folder, "summary.json", {"reason": "max_steps", "step": 6})
    assert not read_run(folder).runs


def test_an_empty_folder_gives_a_page_all_the_same(tmp_path: Path) -> None:
    html, budget = make_page(read_run(RunFolder(tmp_path)))
    assert "No epoch is over yet" in html
    assert budget.left_out == budget.unreadable == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '"text"', "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass")]
)
def test_files_that_are_no_good_are_named_and_passed_over(
    folder: RunFolder, fake_run: Callable[..., Any], text: Any
) -> None:
    fill(folder, fake_run())
    for name in (
        "validation.json",
        "benchmark.json",
        "test_scores.json",
        "evaluation/test.json",
        "predictions/layers.json",
    ):
        path = folder.root / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    content = read_run(folder)
    assert [sheet.file for sheet in content.sheets] == ["metrics.csv"]
    assert len(content.doubts) == 5
    assert all("\n" not in doubt for doubt in content.doubts)
    make_page(content)


@pytest.mark.parametrize(
    "damage",
    [
        {"classes": None},
        {"student": {"iou": {}}},
        {"student": {"iou": {"background": "much"}, "miou": "a lot", "confusion": [[1, "x"], [None, 2]]}},
        {"student": {"iou": {"background": 0.5}, "reliability": [1, {"confidence": None}], "confusion": [1, 2]}},
        {"teacher": {"iou": []}, "agreement": "yes", "images": "many"},
        {"by_size": {"a": 1}, "by_brightness": [3], "worst": "none"},
        {"worst": [{"overlay": 5}, 7]},
    ],
)
def test_an_evaluation_of_another_shape_breaks_nothing(
    folder: RunFolder, fake_run: Callable[..., Any], damage: dict[str, Any]
) -> None:
    fill(folder, fake_run())
    write(folder, "evaluation/test.json", {**evaluation(CLASSES), **damage})
    page, _ = make_page(read_run(folder))
    assert page.rstrip().endswith("</html>") and read_run(folder).name in page


def test_test_comes_before_validation_and_evaluated_before_trained(
    folder: RunFolder, fake_run: Callable[..., Any]
) -> None:
    fill(folder, fake_run())
    write(folder, "test_scores.json", {"part": "test", "images": 4, "miou": 0.3, "iou": {"background": 0.3}})
    assert [sheet.file for sheet in read_run(folder).sheets] == ["test_scores.json", "validation.json"]
    write(folder, "evaluation/val.json", evaluation(CLASSES, "val"))
    write(folder, "evaluation/test.json", evaluation(CLASSES))
    write(folder, "evaluation/elsewhere.json", evaluation(CLASSES, "elsewhere"))
    write(folder, "evaluation/test-last.json", {**evaluation(CLASSES), "weights": "checkpoints/last.safetensors"})
    write(folder, "evaluation/a.json", {**evaluation(CLASSES), "data": "other"})
    sheets = read_run(folder).sheets
    files = ["evaluation/test.json", "test_scores.json", "evaluation/elsewhere.json", "evaluation/val.json"]
    assert [sheet.file for sheet in sheets[:-2]] == [*files, "validation.json"]
    assert [sheet.where for sheet in sheets[-2:]] == ["16 test images of other", "16 test images, by the last weights"]


def test_a_run_of_before_has_its_classes_from_the_best_epoch(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run(classes=3))
    folder.validation_file.unlink()
    content = read_run(folder)
    [sheet] = content.sheets
    best = max(content.metrics, key=lambda row: float(str(row["miou"])))
    assert sheet.student["iou"]["person"] == best["iou/person"]
    assert sheet.teacher == {"miou": 0.8, "iou": {}}
    assert "classes were not kept" in make_page(content)[0]
