"""The page in a real browser: it draws, stays inside the screen, moves without a mouse, and asks no network."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from made_pages import benchmark, draw, evaluation, fill
from playwright.sync_api import Browser, Page, sync_playwright

from snowmelt.reporting import RunFolder
from snowmelt.reporting.page import write_page

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>', "<b>bold</b> &amp; %{x}")
SCRIPT = "<script>alert(3)</script>.png"
CLASSES = ("background", *HOSTILE, *(f"class of things {index}" for index in range(56)))
EPOCHS = 200
PLOTS = ("plan", "loss", "miou", "rates", "agreement", "iou", "confusion", "reliability")
DRAWN = "document.documentElement.dataset.drawn === 'yes'"


@dataclass
class Opened:
    """A page and what it did: lines on the console, requests, dialogs."""

    page: Page
    told: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def boxes(self, selector: str) -> list[tuple[float, float, float, float]]:
        """Left, top, right, bottom of everything that ``selector`` finds."""
        script = """all => all.map(each => each.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])"""
        return [tuple(box) for box in self.page.locator(selector).evaluate_all(script)]

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})
        until(self.page, "Math.abs(innerWidth - document.querySelector('#drawing-loss .main-svg').clientWidth) < 300")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        if os.environ.get("CI"):
            pytest.fail("CI has to have chromium, or nobody looks at the page")
        pytest.skip("there is no chromium here")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, fake_run: Callable[..., Any]
) -> Iterator[Opened]:
    folder = RunFolder.create(tmp_path_factory.mktemp("page") / "<i>large")
    fill(folder, fake_run(epochs=EPOCHS, start=40, every=20), classes=CLASSES)
    draw(folder, [HOSTILE[1], SCRIPT], CLASSES)
    (folder.root / "evaluation").mkdir()
    scores = evaluation(CLASSES)
    scores["worst"] = [{**scores["worst"][0], "name": SCRIPT}]
    (folder.root / "evaluation" / "test.json").write_text(json.dumps(scores))
    (folder.root / "benchmark.json").write_text(json.dumps(benchmark()))
    write_page(folder)
    with browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light") as context:
        found = Opened(context.new_page())
        page = found.page
        page.on("console", lambda message: found.told.append(message.text))
        page.on("pageerror", lambda error: found.told.append(str(error)))
        page.on("dialog", lambda dialog: (found.told.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.route(
            lambda url: not url.startswith("file:"),
            lambda route: (found.asked.append(route.request.url), route.abort()),
        )
        page.set_default_timeout(60_000)
        page.goto(folder.report_file.as_uri())
        until(page, DRAWN)
        yield found


@pytest.fixture(autouse=True)
def quiet(opened: Opened) -> Iterator[None]:
    """Whatever a test does on the page: no error, no dialog, no request."""
    yield
    assert opened.told == []
    assert [url for url in opened.asked if not url.startswith("data:")] == []


def test_every_plot_is_drawn(opened: Opened) -> None:
    page = opened.page
    assert page.locator(".drawing").evaluate_all("all => all.map(each => each.id.slice(8))") == list(PLOTS)
    for name in PLOTS:
        marks = page.locator(f"#drawing-{name} .main-svg :is(.scatterlayer path, .heatmaplayer image, .barlayer path)")
        assert marks.count() >= 1, name
    assert page.locator("#drawing-iou .scatterlayer path.point").count() == 2 * len(CLASSES)
    assert page.locator("#drawing-iou .barlayer path").count() == len(CLASSES)
    assert page.locator(".waiting").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_sticks_out_and_no_label_covers_another(opened: Opened, width: int) -> None:
    opened.resize(width)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for name in PLOTS:
        for axis in ("x", "x2", "y", "y2"):
            labels = opened.boxes(f"#drawing-{name} .{axis}tick text")
            for one, other in pairwise(labels):
                apart = (
                    one[2] <= other[0] + 1 or other[2] <= one[0] + 1 or one[3] <= other[1] + 1 or other[3] <= one[1] + 1
                )
                assert apart, f"{axis} axis of {name} at {width} pixels: {one} and {other}"
    assert len(opened.boxes("#drawing-iou .ytick text")) == len(CLASSES)
    assert len(opened.boxes("#drawing-confusion .xtick text")) == len(CLASSES)


def test_the_epochs_of_all_curves_lie_below_each_other(opened: Opened) -> None:
    opened.resize(1280)
    places = {opened.boxes(f"#drawing-{name} .nsewdrag[data-subplot='xy']")[0][::2] for name in PLOTS[:5]}
    assert len(places) == 1


def test_zooming_into_one_curve_zooms_all(opened: Opened) -> None:
    zoom = "Plotly.relayout('drawing-miou', {'xaxis.range[0]': 20, 'xaxis.range[1]': 60})"
    opened.page.evaluate(zoom)
    settle(opened)
    read = "names => names.map(name => document.getElementById('drawing-' + name).layout.xaxis.range)"
    assert opened.page.evaluate(read, list(PLOTS[:5])) == [[20, 60]] * 5
    opened.page.evaluate("Plotly.relayout('drawing-loss', {'xaxis.autorange': true})")
    settle(opened)
    assert opened.page.evaluate(read, list(PLOTS[:5])) == [[-0.5, EPOCHS - 0.5]] * 5


def test_names_are_text_whatever_they_hold(opened: Opened) -> None:
    page = opened.page
    assert page.locator("h1").inner_text() == "<i>large"
    assert page.title() == "<i>large - snowmelt"
    page.locator("#classes details").first.evaluate("each => { each.open = true; }")
    cells = page.locator("#classes tbody th").all_inner_texts()
    assert set(HOSTILE) <= set(cells)
    assert page.locator(".sample .file").first.inner_text() == HOSTILE[1]
    labels = page.locator("#drawing-iou .ytick text").evaluate_all("all => all.map(each => each.textContent)")
    assert {name[:17] + "\N{HORIZONTAL ELLIPSIS}" for name in HOSTILE} <= set(labels)
    page.locator("#drawing-confusion").scroll_into_view_if_needed()
    left, top, right, bottom = opened.boxes("#drawing-confusion .nsewdrag")[0]
    cell = (right - left) / len(CLASSES)
    page.mouse.move(left + 1.3 * cell, top + 3.3 / len(CLASSES) * (bottom - top))
    page.mouse.move(left + 1.5 * cell, top + 3.5 / len(CLASSES) * (bottom - top))
    until(page, "document.querySelector('#drawing-confusion .hoverlayer').textContent !== ''")
    told = page.locator("#drawing-confusion .hoverlayer").text_content() or ""
    assert HOSTILE[2] in told.replace("\N{NO-BREAK SPACE}", " ")
    assert HOSTILE[0] in told
    assert page.locator("img[src=x], #drawing-iou b, #drawing-confusion b").count() == 0


def test_a_class_and_a_file_called_script_run_nothing(opened: Opened) -> None:
    """That no dialog opens is looked at after every test."""
    page = opened.page
    assert SCRIPT in page.locator(".sample .file").all_inner_texts()
    scripts = page.evaluate("[...document.scripts].map(each => each.textContent.trim())")
    assert scripts and not [text for text in scripts if text.startswith("alert")]
    assert page.evaluate("document.documentElement.outerHTML").count("&lt;script&gt;alert(3)") >= 2
    assert CLASSES[1] == "<script>alert(1)</script>"
    told = page.locator("#classes tbody th").all_text_contents()
    assert CLASSES[1] in told


def test_the_slider_moves_by_keyboard_by_touch_and_for_all(opened: Opened) -> None:
    opened.resize(1280)
    page = opened.page

    def seen() -> list[str]:
        return page.locator(".layer.on").evaluate_all("all => all.map(each => each.dataset.layer)")

    assert seen() == ["student", "student"]
    first = page.locator("input.layers").first
    first.focus()
    page.keyboard.press("ArrowRight")
    assert seen() == ["errors", "student"]
    assert first.get_attribute("aria-valuetext") == "errors"
    page.keyboard.press("Home")
    assert seen() == ["image", "student"]
    page.locator(".sample").nth(1).get_by_text("truth", exact=True).last.click()
    assert seen() == ["image", "truth"]
    page.locator("#all-layers").focus()
    page.keyboard.press("ArrowLeft")
    assert seen() == ["teacher", "teacher"]
    until(page, "getComputedStyle(document.querySelector('.layer.on')).opacity === '1'")
    loaded = "all => all.every(each => each.complete && each.naturalWidth > 0)"
    assert page.locator(".layer img").evaluate_all(loaded)


def test_a_key_switches_its_line_off_and_on(opened: Opened) -> None:
    key = opened.page.locator("button.key[data-plot=miou]").nth(1)
    lines = opened.page.locator("#drawing-miou .scatterlayer .trace")
    before = lines.count()
    key.click()
    assert (lines.count(), key.get_attribute("aria-pressed")) == (before - 1, "false")
    key.click()
    assert (lines.count(), key.get_attribute("aria-pressed")) == (before, "true")


def test_the_dark_page_has_other_colours_and_enough_contrast(opened: Opened) -> None:
    page = opened.page
    read = """() => {
      const shown = (selector, what) => getComputedStyle(document.querySelector(selector))[what];
      const line = "#drawing-miou .scatterlayer .trace path.js-line";
      return [shown("body", "backgroundColor"), shown("body", "color"), shown(".note", "color"),
        shown("nav a", "color"), shown(line, "stroke"), shown("#drawing-iou .ytick text", "fill")];
    }"""
    light = page.evaluate(read)
    page.emulate_media(color_scheme="dark")
    until(page, f"({read})()[4] !== '{light[4]}'")
    dark = page.evaluate(read)
    page.emulate_media(color_scheme="light")
    until(page, f"({read})()[4] === '{light[4]}'")
    assert not [one for one, other in zip(light, dark, strict=True) if one == other]
    for colours in (light, dark):
        for index, least in ((1, 4.5), (2, 4.5), (3, 4.5), (4, 3.0), (5, 4.5)):
            assert contrast(colours[0], colours[index]) >= least


def test_it_can_be_read_aloud(opened: Opened) -> None:
    page = opened.page
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.locator("h1, h2, h3").evaluate_all("all => all.map(each => Number(each.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("img:not([alt])").count() == 0
    assert all(page.locator(".drawing").evaluate_all("all => all.map(each => each.getAttribute('aria-label'))"))
    assert page.locator("input:not([aria-label])").evaluate_all("all => all.every(each => each.labels.length)")


def test_it_prints_with_plots_and_everything_opened(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert max(box[2] - box[0] for box in opened.boxes("#drawing-loss .main-svg")) <= 660
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 900})  # A4 within its margins; what is wider shrinks every page
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    for left, top, right, bottom in opened.boxes(".drawing .main-svg"):
        assert right - left <= 661
        assert bottom - top <= 800  # a plot that is higher is cut in two
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0
    page.pdf(path=tmp_path / "page.pdf")
    printed = (tmp_path / "page.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") >= 4
    assert len(printed) > 100_000


def until(page: Page, expression: str) -> None:
    """Wait for an expression to be true. Playwright's own way of waiting is what the page's policy forbids."""
    for _ in range(1200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the page does not come to: {expression}")


def settle(opened: Opened) -> None:
    """Wait until Plotly has told what it was asked to do: two frames and a task."""
    wait = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50))))"
    opened.page.evaluate(wait)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of WCAG 2 for two ``rgb(r, g, b)``."""

    def luminance(colour: str) -> float:
        parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
