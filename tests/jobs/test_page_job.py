"""``report.html`` and what it stands on, as real runs leave them."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_experiments import overheard

from snowmelt.errors import SnowmeltError
from snowmelt.jobs import report_run
from snowmelt.jobs.page import plain_beside
from snowmelt.reporting import RunFolder, read_metrics


def test_every_run_has_its_page_teachers_too(cycle: Any) -> None:
    said = {root.name: (root / "report.html").read_text() for root in (cycle.output / "plain", cycle.teacher)}
    assert "The student reaches mIoU" in said["plain"]
    assert "The teacher reaches mIoU" in said[cycle.teacher.name]
    page = (cycle.output / "distilled" / "report.html").read_text()
    assert "the best plain student here, plain (" in page
    assert page.count('data-layer="errors"') == 4
    assert "3 of 7" not in page


def test_the_counts_of_validation_give_the_scores_of_the_table(cycle: Any) -> None:
    root = cycle.output / "distilled"
    kept = json.loads((root / "validation.json").read_text())
    row = read_metrics(root / "metrics.csv")[kept["epoch"]]
    assert row["best"]
    for side, miou in (("student", "miou"), ("teacher", "teacher_miou")):
        counts = np.array(kept[side]["confusion"])
        union = counts.sum(0) + counts.sum(1) - np.diag(counts)
        iou = np.diag(counts) / union
        assert float(np.nanmean(iou)) == pytest.approx(row[miou])
        assert list(kept[side]["iou"].values()) == pytest.approx(iou.tolist())
    assert kept["student"]["iou"]["person"] == row["iou/person"]
    assert counts.sum() == 4 * 64 * 64


def test_it_is_written_again_and_elsewhere(cycle_copy: Any, tmp_path: Path) -> None:
    root = cycle_copy.output / "plain"
    (root / "report.html").unlink()
    path, said = overheard(report_run, root)
    assert path == root / "report.html"
    assert said.startswith(f"{path} (2.")
    assert said.endswith(" MB)\n")
    other = tmp_path / "new" / "page.html"
    report_run(root, output=other)
    assert other.stat().st_size == pytest.approx(path.stat().st_size, abs=100)
    assert not list(other.parent.glob(".*"))


def test_plain_students_beside_it(cycle_copy: Any) -> None:
    plain = plain_beside(RunFolder(cycle_copy.output / "distilled"))
    assert plain is not None
    assert (plain.name, plain_beside(RunFolder(cycle_copy.teacher))) == ("plain", None)
    (cycle_copy.output / "plain" / "summary.json").unlink()
    assert plain_beside(RunFolder(cycle_copy.output / "distilled")) is None


def test_open_shows_it(cycle_copy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: shown.append(url))
    path, said = overheard(report_run, cycle_copy.output / "plain", opens=True)
    assert shown == [path.resolve().as_uri()]
    assert "open the file by hand" in said  # the stand-in answered that it could not


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("experiments/palin", "there is no such run; there is experiments/plain"),
        ("palin", "there is no such run; there is experiments/plain"),
        ("experiments", "is no run folder"),
        ("experiments/plain/config.yaml", "is a file; give the run folder"),
        ("all-compare", "is a comparison"),
    ],
)
def test_what_is_no_run_is_refused(cycle_copy: Any, monkeypatch: pytest.MonkeyPatch, name: str, part: str) -> None:
    cycle_copy.output.rename(cycle_copy.output.with_name("experiments"))
    monkeypatch.chdir(cycle_copy.output.parent)
    compared = Path("experiments") / "all-compare"
    compared.mkdir()
    (compared / "comparison.json").write_text("{}")
    with pytest.raises(SnowmeltError) as refused:
        report_run(name)
    assert part in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_place_that_cannot_be_written_is_told(cycle_copy: Any) -> None:
    root = cycle_copy.output / "plain"
    with pytest.raises(SnowmeltError, match="cannot be written"):
        report_run(root, output=root / "config.yaml" / "page.html")
    with pytest.raises(SnowmeltError, match="is a folder"):
        report_run(root, output=root)
