"""The list of codes: each is well formed, used, and in the documents; none is used or documented that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from snowmelt.errors import CODES

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "src" / "snowmelt"
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.parent.name != "errors")
PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")


def codes_given(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every literal in a ``code=`` of a call, and of what functions named ``_code_of`` return."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            values = [keyword.value for keyword in node.keywords if keyword.arg == "code"]
        elif isinstance(node, ast.FunctionDef) and node.name == "_code_of":
            values = [each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value is not None]
        else:
            continue
        for value in values:
            yield from ((each.lineno, each.value) for each in _results(value))


def _results(value: ast.expr) -> Iterator[ast.Constant]:
    if isinstance(value, ast.IfExp):
        yield from _results(value.body)
        yield from _results(value.orelse)
    elif isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value


GIVEN = [(path, line, code) for path in FILES for line, code in codes_given(ast.parse(path.read_text("utf-8")))]


def test_there_is_something_to_look_at() -> None:
    assert len(GIVEN) > 400
    assert 60 <= len(CODES) <= 150


def test_every_code_that_is_given_is_in_the_list() -> None:
    unknown = [f"{path.relative_to(ROOT)}:{line}: {code}" for path, line, code in GIVEN if code not in CODES]
    assert not unknown


def test_every_code_in_the_list_is_given_somewhere() -> None:
    assert not set(CODES) - {code for _, _, code in GIVEN}


@pytest.mark.parametrize("code", CODES)
def test_codes_are_words_and_advice_is_one_sentence(code: str) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", code)
    for text in CODES[code]:
        assert text == " ".join(text.split()).rstrip(".")
        assert len(text) > 10 and "|" not in text


def test_the_page_is_the_list() -> None:
    """Row by row and in its order; a link there is the path of a document here."""
    plain = re.sub(r"\[((?:docs/)?[\w/-]+\.md)\]\([^)]+\)", r"\1", PAGE)
    rows = re.findall(r"(?m)^\| `([a-z-]+)` \| (.+?) \| (.+?) \|$", plain)
    assert rows == [(code, *advice) for code, advice in CODES.items()]


def test_a_link_on_the_page_leads_to_the_document_that_it_names() -> None:
    links = re.findall(r"\[((?:docs/)?[\w/-]+\.md)\]\(([^)#]+)[^)]*\)", PAGE)
    assert links
    for shown, target in links:
        assert shown.removeprefix("docs/").lower() == target
