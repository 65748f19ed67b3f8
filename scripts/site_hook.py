"""What MkDocs cannot know by itself: pages made from files outside ``docs/``, and which pages are Japanese.

MkDocs calls the functions by their names. ``changelog.md`` and ``contributing.md`` are the files of the repository's
root; every room of the package gets a page ``api/ROOM.md`` of its own, so a new room is in the site when it has an
``__all__``.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from markdown.extensions.toc import slugify_unicode
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "snowmelt"
API = "API"
JAPANESE = ".ja.md"
WIDE = "[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]"  # kana, kanji and their punctuation
ENDS = re.compile(rf"(?<={WIDE})\n *(?={WIDE})")
CODE, CELL = re.compile(r"(?s)<code.*?</code>"), re.compile(r"(?s)<td.*?</td>")
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*(?![^<]*>)")  # not inside a tag
JOINT = re.compile(r"(?<=[a-z])[._](?=[a-z])(?![^<]*>)")
FROM_ROOT = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def rooms() -> list[str]:
    """Names of the package's rooms with public names, in alphabetical order."""
    return sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if public_names(path))


def public_names(path: Path) -> list[str]:
    """What ``__all__`` of a module lists, read without importing it."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
            return list(ast.literal_eval(node.value))
    return []


def api_page(room: str) -> str:
    """Markdown of a room's page: the package's docstring, then every public name with its own; constants come last.

    Each name is asked for by itself: one that cannot be found then ends the build.
    """
    names = sorted(public_names(PACKAGE / room / "__init__.py"), key=str.isupper)
    package = (
        f"::: snowmelt.{room}\n    options: {{members: false, show_root_heading: false, show_root_toc_entry: false}}\n"
    )
    return "\n".join([f"# snowmelt.{room}\n", package, *(f"::: snowmelt.{room}.{name}\n" for name in names)])


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the rooms' pages under the empty section ``API``, and let Japanese headings have anchors of their own."""
    pages = [{f"snowmelt.{room}": f"api/{room}.md"} for room in rooms()]
    config.nav = [{API: pages} if list(entry) == [API] else entry for entry in config.nav or []]
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify_unicode
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files under ``docs/``."""
    for target, source in FROM_ROOT.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    for room in rooms():
        files.append(File.generated(config, f"api/{room}.md", content=api_page(room)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Join the lines of Japanese sentences: a browser shows a line's end as a space, and Japanese has none."""
    if not page.file.src_uri.endswith(JAPANESE):
        return markdown
    parts = re.split(r"(?ms)(^```.*?^```$)", markdown)  # fenced blocks keep their lines
    return "".join(part if part.startswith("```") else ENDS.sub("", part) for part in parts)


def breaking_well(html: str) -> str:
    """Let code break where a reader would: not inside an option, and in a table's long names after a dot or a dash."""

    def joints(code: re.Match[str]) -> str:
        return JOINT.sub(r"\g<0><wbr>", code[0])

    html = CODE.sub(lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), html)
    return CELL.sub(lambda cell: CODE.sub(joints, cell[0]), html)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Name the language of a Japanese page, by which browsers choose glyphs and break lines."""
    output = breaking_well(output)
    if page.file.src_uri.endswith(JAPANESE):
        return output.replace('<html lang="en"', '<html lang="ja"', 1)
    return output
