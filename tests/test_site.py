"""The documentation site without building it: navigation, settings, pictures, and the reference guide's figures."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import griffe
import pytest
import yaml
from PIL import Image

import snowmelt
from snowmelt.build import make_plan_of
from snowmelt.config import ThawConfig
from snowmelt.config_manager import REFERENCE, ConfigManager
from snowmelt.errors import SnowmeltError
from snowmelt.schedules import Plan

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
GUIDES = ("reference.md", "reference.ja.md")
PICTURES = sorted(DOCS.rglob("*.png"))


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    """``scripts/site_hook.py``, which MkDocs loads by its path, too."""
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "scripts" / "site_hook.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def pages(entries: list[Any]) -> Iterator[str]:
    """Every page that a navigation names, sections opened up."""
    for entry in entries:
        for target in entry.values() if isinstance(entry, dict) else [entry]:
            if isinstance(target, str):
                yield target
            else:
                yield from pages(target)


def test_the_navigation_names_every_page_once(hook: ModuleType) -> None:
    """A new docs/*.md needs a line in mkdocs.yml."""
    named = list(pages(SITE["nav"]))
    there = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(there | set(hook.FROM_ROOT))


def test_every_room_with_public_names_has_a_page(hook: ModuleType) -> None:
    source = Path(snowmelt.__file__).parent
    rooms = sorted(path.parent.name for path in source.glob("*/__init__.py") if "__all__" in path.read_text("utf-8"))
    assert hook.rooms() == rooms
    assert {"schedules", "losses", "models", "training"} <= set(rooms)
    page = hook.api_page("schedules")
    assert sorted(re.findall(r"(?m)^::: snowmelt\.schedules\.(\w+)$", page)) == sorted(snowmelt.schedules.__all__)


def test_nothing_on_a_page_comes_from_elsewhere() -> None:
    assert SITE["strict"] is True
    assert SITE["theme"]["font"] is False
    assert "://" not in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for path in DOCS.rglob("*.css"):
        assert "url(" not in path.read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md"):
        assert not re.search(r"!\[[^\]]*\]\(\w+:|<script|<img|<link", path.read_text(encoding="utf-8")), path


def test_the_build_is_strict() -> None:
    """With --quiet MkDocs does not count its warnings, so a strict build would pass with them."""
    recipe = (ROOT / "Makefile").read_text().split("\ndocs: setup", 1)[1].split("\n\n")[0]
    assert "mkdocs build --strict" in recipe
    assert not re.search(r"--quiet|-q\b|\|\| true|\t-", recipe)
    assert set(SITE["validation"]["links"].values()) | set(SITE["validation"]["nav"].values()) == {"warn"}


def test_docstrings_can_be_read(caplog: pytest.LogCaptureFixture) -> None:
    """What the strict build would refuse: an ``Args:`` entry that is no parameter, several names in one entry."""
    modules = [griffe.load("snowmelt", search_paths=[ROOT / "src"], docstring_parser="google", try_relative_path=False)]
    seen = 0
    while modules:
        for member in modules.pop().members.values():
            if member.is_alias:
                continue
            if member.docstring is not None:
                assert member.docstring.parse()
                assert not re.search(r":[a-z]+:`", member.docstring.value), member.path  # Sphinx's, not Markdown's
                seen += 1
            modules.append(member)
    assert seen > 500
    assert [record.getMessage() for record in caplog.records] == []


def page_of(name: str) -> SimpleNamespace:
    return SimpleNamespace(file=SimpleNamespace(src_uri=name))


def test_a_japanese_page_says_so(hook: ModuleType) -> None:
    html = '<!doctype html><html lang="en" class="no-js">'
    assert 'lang="ja"' in hook.on_post_page(html, page=page_of("reference.ja.md"), config=None)
    assert hook.on_post_page(html, page=page_of("reference.md"), config=None) == html


def test_code_breaks_where_a_reader_would(hook: ModuleType) -> None:
    html = '<td><code title="a.b --x">task.ce_weight --set</code> a.b</td><code>a.b --run-name 1--2</code>'
    assert hook.breaking_well(html) == (
        '<td><code title="a.b --x">task.<wbr>ce_<wbr>weight <span class="option">--set</span></code> a.b</td>'
        '<code>a.b <span class="option">--run-name</span> 1--2</code>'
    )


def test_japanese_lines_are_joined_without_a_space(hook: ModuleType) -> None:
    text = "温度が\n  下がり、\n解凍\n`thaw`\n\n# 見出し\n\n- 一つ\n- 二つ\n\n```\n表\n示\n```\n"
    joined = hook.on_page_markdown(text, page=page_of("x.ja.md"))
    assert joined == "温度が下がり、解凍\n`thaw`\n\n# 見出し\n\n- 一つ\n- 二つ\n\n```\n表\n示\n```\n"
    assert hook.on_page_markdown(text, page=page_of("x.md")) == text


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.stem)
def test_pictures_are_small_and_used_and_described(path: Path) -> None:
    assert path.stat().st_size < 200_000
    with Image.open(path) as picture:
        assert picture.width <= 1700
    place = path.relative_to(DOCS).as_posix()
    described = [found for page in DOCS.rglob("*.md") for found in re.findall(rf"!\[(.*?)\]\({place}\)", text_of(page))]
    assert described
    assert all(len(words) > 20 for words in described)


@cache
def plan_of(name: str) -> Plan:
    return make_plan_of(ConfigManager.get_config(name))


def rows(name: str, heading: str) -> list[list[str]]:
    """Cells of the table under a heading, without its head."""
    section = text_of(name).split(f"## {heading}\n", 1)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@pytest.mark.parametrize(("name", "heading"), [(GUIDES[0], "What 50 epochs do"), (GUIDES[1], "50 エポックの流れ")])
def test_the_stages_are_those_of_the_plan(name: str, heading: str) -> None:
    table = rows(name, heading)
    plan, printed = plan_of(REFERENCE), plan_of("published_temperatures")
    assert len(table) == len(plan.stages) == len(printed.stages) == 8
    for row, stage, column in zip(table, plan.stages, printed.stages, strict=True):
        assert row[0] == stage.epochs
        assert row[1] == f"{stage.temperature_from:.2f} -> {stage.temperature_to:.2f}"
        assert row[2] == f"{column.temperature_from:.1f} -> {column.temperature_to:.1f}"
        assert row[3] == str(stage.thawed_blocks)
        assert row[5] == f"{stage.trainable_parameters:,}"


def fenced(name: str, language: str) -> list[str]:
    return [body for tag, body in re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", text_of(name)) if tag == language]


def test_both_guides_show_the_same() -> None:
    english, japanese = GUIDES
    for language in ("sh", "python", "yaml", ""):
        assert fenced(english, language) == fenced(japanese, language)
    assert [len(re.findall(r"(?m)^## ", text_of(name))) for name in GUIDES] == [6, 6]
    assert f"]({japanese})" in text_of(english)
    assert f"]({english})" in text_of(japanese)


def test_the_guides_ten_strings_are_the_typed_settings_beside_them(tmp_path: Path) -> None:
    results: dict[str, Any] = {}
    exec(compile(fenced("reference.md", "python")[0], "reference.md", "exec"), results)
    file = tmp_path / "typed.yaml"
    file.write_text(fenced("reference.md", "yaml")[0])
    typed = ConfigManager.get_config(str(file))
    assert results["mine"].thaw == typed.thaw == ThawConfig(start=15, every=3, lr_scale=0.05)
    assert results["mine"].temperature == typed.temperature


def test_the_refusal_in_the_guide_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    strings = ["temp_scheduling", "true", "4.0", "1.0", "cosin", "progressive_unfreeze", "true", "10", "5", "0.1"]
    Path("my.yaml").write_text(yaml.safe_dump({"distillation": {"feature_match_layers": strings}}))
    with pytest.raises(SnowmeltError) as refused:
        ConfigManager.get_config("my.yaml")
    assert f"error[{refused.value.code}]: {refused.value}\n" in fenced("reference.md", "")
