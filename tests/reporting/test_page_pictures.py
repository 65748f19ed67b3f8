"""Pictures in the page: small enough, and only those of the run folder."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_pages import benchmark, draw, evaluation, fill
from PIL import Image

from snowmelt.reporting import RunFolder
from snowmelt.reporting.page import writing
from snowmelt.reporting.page.pictures import Budget, data_uri, samples_of, worst_of
from snowmelt.reporting.page.reading import read_run

CLASSES = ("background", "person")


def noise(path: Path, side: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)).save(path)
    return path


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_stay_as_they_are_and_large_ones_become_smaller(tmp_path: Path) -> None:
    small = noise(tmp_path / "small.png", 20)
    assert data_uri(small) == "data:image/png;base64," + base64.b64encode(small.read_bytes()).decode()
    large = data_uri(noise(tmp_path / "large.png", 1500))
    assert large.startswith("data:image/webp;")
    assert opened(large).size == (1400, 1400)


def test_what_does_not_fit_is_left_out_by_name(folder: RunFolder) -> None:
    draw(folder, ["one", "two"], CLASSES)
    content = read_run(folder)
    assert [list(sample.layers) for sample in samples_of(content, Budget(10**6))] == [
        ["image", "truth", "teacher", "student", "errors"]
    ] * 2
    budget = Budget(1500)
    samples_of(content, budget)
    assert 0 < len(budget.left_out) < 10
    assert 0 <= budget.left < 1500


@pytest.mark.parametrize("file", ["../secret.png", "/etc/hostname", "no.png", "text.png", "", "layers"])
def test_nothing_from_elsewhere_and_nothing_that_is_no_picture(folder: RunFolder, file: str) -> None:
    noise(folder.root.parent / "secret.png", 4)
    noise(folder.root / "secret.png", 4)
    (folder.predictions / "text.png").write_text("no picture")
    budget = Budget(10**6)
    assert budget.take(folder.predictions, file) is None
    assert budget.unreadable == [file]


def test_a_link_out_of_the_folder_is_not_followed(folder: RunFolder, tmp_path: Path) -> None:
    (folder.predictions / "link.png").symlink_to(noise(tmp_path / "outside.png", 4))
    assert Budget(10**6).take(folder.predictions, "link.png") is None


def test_the_worst_images_come_in_layers_where_they_are_there(folder: RunFolder) -> None:
    for layer in ("image", "student"):
        noise(folder.root / "evaluation" / "test" / "layers" / f"{layer}.png", 8)
    content = evaluation(CLASSES, overlay="test/worst.png")
    content["worst"][0]["layers"] = {layer: f"test/layers/{layer}.png" for layer in ("student", "image", "errors")}
    (folder.root / "evaluation" / "test.json").write_text(json.dumps(content))
    [sheet] = read_run(folder).sheets
    sheet = replace(sheet, who="teacher")
    budget = Budget(10**6)
    [worst] = worst_of(sheet, folder.root, budget)
    assert list(worst.layers) == ["image", "teacher"]  # as the page calls it, in the order of the slider
    assert budget.unreadable == ["test/layers/errors.png"]


def test_layers_of_the_worst_have_a_slider_and_nothing_that_scrolls(
    folder: RunFolder, fake_run: Callable[..., Any]
) -> None:
    fill(folder, fake_run(), classes=CLASSES)
    noise(folder.root / "evaluation" / "test" / "worst.png", 8)
    content = evaluation(CLASSES, overlay="test/worst.png")
    for layered in (False, True):
        if layered:
            content["worst"][0]["layers"] = {layer: "test/worst.png" for layer in ("image", "student")}
        (folder.root / "evaluation" / "test.json").write_text(json.dumps(content))
        writing.write_page(folder)
        page = folder.report_file.read_text()
        assert ('id="worst-1"' in page) == layered
        assert ('<figure class="sample worst">' in page) != layered


@pytest.mark.parametrize("overlay", ["test/worst.png", "evaluation/test/worst.png"])
def test_the_worst_images_are_found_from_either_folder(folder: RunFolder, overlay: str) -> None:
    noise(folder.root / "evaluation" / "test" / "worst.png", 8)
    (folder.root / "evaluation" / "test.json").write_text(json.dumps(evaluation(CLASSES, overlay=overlay)))
    [sheet] = read_run(folder).sheets
    [worst] = worst_of(sheet, folder.root, Budget(10**6))
    assert (worst.name, worst.miou, worst.teacher_miou, list(worst.layers)) == ("worst.png", 0.1, 0.3, ["panel"])


def test_the_page_says_what_it_leaves_out(
    folder: RunFolder, fake_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(fill(folder, fake_run()), ["one", "two"], CLASSES)
    whole = writing.write_page(folder)
    assert whole.left_out == ()
    assert whole.size == folder.report_file.stat().st_size < 2_500_000
    monkeypatch.setattr(writing, "LARGEST", writing.TEXT_ROOM + len(writing.packed_plotly()))
    assert len(writing.write_page(folder).left_out) == 10
    assert "10 pictures (layers/00_one_image.webp" in folder.report_file.read_text()


def test_a_run_of_before_shows_its_panels(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    noise(folder.predictions / "photo.png", 8)
    html, _ = writing.make_page(read_run(fill(folder, fake_run())))
    assert 'alt="Image, truth, predictions and errors of photo"' in html


def test_a_teachers_page_speaks_of_no_student(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run(teacher=False))
    draw(folder, ["scene"], CLASSES, teacher=False)
    (folder.root / "evaluation").mkdir()
    (folder.root / "evaluation" / "val.json").write_text(json.dumps({**evaluation(CLASSES, "val"), "teacher": None}))
    for teaches, who in ((False, "student"), (True, "teacher")):
        html, _ = writing.make_page(read_run(folder), teaches=teaches)
        page = html.replace(writing.packed_plotly(), "")
        for drop in (r"<style>.*?</style>", r"<script>.*?</script>", r"base64,[^\"]*", "--student|--teacher"):
            page = re.sub(drop, "", page, flags=re.DOTALL)
        assert f'data-own="{who}"' in page
        assert f'data-layer="{who}"' in page
        assert f"through image, truth, {who}, errors" in page
        assert f'"name": "{who}"' in page or f'"name":"{who}"' in page
        assert ("student" in page.lower()) is not teaches


def test_groups_say_where_they_begin_and_end(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run())
    (folder.root / "evaluation").mkdir()
    size = {"group": "medium", "low": 0.01, "high": 0.1, "regions": 48, "miou": 0.00083, "teacher_miou": None}
    light = {"group": "dark", "low": 69.4, "high": 108.2, "images": 6, "miou": 0.5, "teacher_miou": 0.25}
    content = {**evaluation(CLASSES), "by_size": [size], "by_brightness": [light]}
    (folder.root / "evaluation" / "test.json").write_text(json.dumps(content))
    html, _ = writing.make_page(read_run(folder))
    for cells in (("medium", "1 to 10 %", "48", "0.0008"), ("dark", "69 to 108", "6", "0.5000", "0.2500")):
        assert re.search(
            r"\s*".join(rf"<t[dh][^>]*>{re.escape(cell)}</t[dh]>" for cell in cells) + r"\s*</tr>", html
        ), cells


def test_what_the_benchmark_found_stands_above_its_table(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    fill(folder, fake_run())
    (folder.root / "benchmark.json").write_text(json.dumps(benchmark()))
    html, _ = writing.make_page(read_run(folder))
    assert "<p>The student takes a quarter of the time.</p>" in html
    assert "<td>80.0 ms</td>" in html
    assert "<td>2.10 G</td>" in html
    assert "<td>84.0 MB</td>" in html


def test_nothing_is_left_to_the_network(folder: RunFolder, fake_run: Callable[..., Any]) -> None:
    html, _ = writing.make_page(read_run(fill(folder, fake_run())))
    shell = html.replace(writing.packed_plotly(), "")
    assert "http:" not in shell
    assert "https:" not in shell
    assert "default-src 'none'" in shell
