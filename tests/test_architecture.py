"""The house: which room may know which, how large its pieces are, and where their tests live."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "snowmelt"
TESTS = ROOT / "tests"

# Imports go downward only: a room may know the rooms of the floors below it, and none beside it.
FLOORS = [
    {"errors", "_version"},
    {"disk"},
    {"data", "models", "losses", "evaluation", "schedules"},
    {"training", "teachers", "inference", "export", "config"},
    {"build", "config_manager", "reporting", "study"},
    {"jobs"},
    {"cli"},
    {"__main__"},
]
GROUND = FLOORS[2]
# Rooms that may know less than their floor allows. The package itself stays light: importing any room imports it.
NARROW = {"": {"_version"}, "_version": set(), "config": {"schedules", "errors"}}

MOST_LINES = {"file": 350, "function": 70}


def room_of(path: Path) -> str:
    """``training`` for training/loop.py, ``build`` for build.py, empty for the package's own ``__init__``."""
    first = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def may_import(room: str) -> set[str]:
    below: set[str] = set()
    for floor in FLOORS:
        if room in floor:
            return NARROW.get(room, below)
        below |= floor
    if room in NARROW:
        return NARROW[room]
    pytest.fail(f"snowmelt/{room} stands on no floor; give it a place in FLOORS of {Path(__file__).name}")


def modules_imported(tree: ast.AST, package: list[str]) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported: at the top, in functions, for type checkers, by name.

    ``from snowmelt import data`` counts as ``snowmelt.data``, and ``package`` resolves relative imports.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *(node.module.split(".") if node.module else [])])
            yield from ((node.lineno, f"{prefix}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("import_module", "__import__") and node.args and isinstance(node.args[0], ast.Constant):
                yield node.lineno, str(node.args[0].value)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def imports_of(path: Path) -> list[tuple[int, str]]:
    package = ["snowmelt", *path.relative_to(SOURCE).parts[:-1]]
    return list(modules_imported(tree_of(path), package))


def neighbours(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of every import from another room."""
    for line, name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "snowmelt":
            # A name taken from the package itself, such as its version, belongs to no room.
            room = parts[1] if len(parts) > 1 and is_room(parts[1]) else ""
            if room != room_of(path):
                yield line, room


def is_room(name: str) -> bool:
    return (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file() or any(name in floor for floor in FLOORS)


def short(path: Path) -> str:
    return str(path.relative_to(ROOT))


FILES = sorted(SOURCE.rglob("*.py"))
ROOMS = sorted({room_of(path) for path in FILES} - {"", "__main__", "_version"})
TEST_FILES = sorted(TESTS.rglob("test_*.py"))


def test_there_is_a_house_to_look_at() -> None:
    assert set(ROOMS) >= {"errors", *GROUND, "training", "config", "build", "config_manager", "reporting", "cli"}
    assert len(FILES) > len(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_only_go_downward(path: Path) -> None:
    allowed = may_import(room_of(path))
    wrong = [f"line {line}: {room or 'snowmelt itself'}" for line, room in neighbours(path) if room not in allowed]
    assert not wrong, f"{short(path)} may import {sorted(allowed)}, but takes {wrong}"


def test_the_table_says_what_the_design_says() -> None:
    for room in GROUND:
        assert may_import(room) == {"disk", "errors", "_version"}
    assert may_import("training") == {*GROUND, "disk", "errors", "_version"}
    assert may_import("config") == {"schedules", "errors"}
    assert {"config", "training", "teachers"} <= may_import("build")
    assert not {"build", "reporting", "study"} & may_import("config_manager")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("import snowmelt.data.sources", "snowmelt.data.sources"),
        ("from snowmelt import data", "snowmelt.data"),
        ("from snowmelt.data import Batch", "snowmelt.data.Batch"),
        ("from . import state", "snowmelt.training.state"),
        ("from .. import data", "snowmelt.data"),
        ("from ..data.batch import Batch", "snowmelt.data.batch.Batch"),
        ("def late():\n    from snowmelt.config import settings", "snowmelt.config.settings"),
        ("if TYPE_CHECKING:\n    import snowmelt.config", "snowmelt.config"),
        ("importlib.import_module('snowmelt.config')", "snowmelt.config"),
    ],
)
def test_no_way_of_importing_goes_unseen(line: str, expected: str) -> None:
    assert [name for _, name in modules_imported(ast.parse(line), ["snowmelt", "training"])] == [expected]


@pytest.mark.parametrize("path", sorted((SOURCE / "schedules").glob("*.py")), ids=short)
def test_schedules_need_nothing_but_the_standard_library(path: Path) -> None:
    outside = {name.split(".")[0] for _, name in imports_of(path)} - {"snowmelt", *sys.stdlib_module_names}
    assert not outside


@pytest.mark.parametrize("module", ["snowmelt", "snowmelt.schedules", "snowmelt.cli.app"])
def test_torch_is_not_loaded_before_it_is_needed(module: str) -> None:
    """What `--help` and `--version` import must not take the seconds that torch takes."""
    heavy = ["torch", "torchvision", "timm", "segmentation_models_pytorch", "lightning_fabric", "matplotlib"]
    code = f"import sys, {module}; print(*[name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == []


def test_the_reference_command_is_a_doorway() -> None:
    tree = ast.parse((ROOT / "train_distillation_staged.py").read_text())
    ours = {name.split(".")[1] for _, name in modules_imported(tree, []) if name.startswith("snowmelt.")}
    assert ours == {"cli"}


@pytest.mark.parametrize("path", [*FILES, *TEST_FILES], ids=short)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES["file"], f"{short(path)} holds more than one concept"
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            length = node.end_lineno - node.lineno + 1
            assert length <= MOST_LINES["function"], f"{node.name} in {short(path)} has {length} lines"


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_has_tests_in_the_same_place(room: str) -> None:
    found = [*TESTS.glob(f"{room}/**/test_*.py"), *TESTS.glob(f"test_{room}.py")]
    assert found, f"tests/{room}/ has no tests for snowmelt/{room}"


def test_every_folder_of_tests_belongs_to_a_room() -> None:
    folders = {path.relative_to(TESTS).parts[0] for path in TEST_FILES if path.parent != TESTS}
    assert folders <= set(ROOMS)


def test_no_file_of_tests_is_empty_or_shadows_another() -> None:
    names = [path.name for path in TEST_FILES]
    twice = {name for name in names if names.count(name) > 1}
    assert not twice, "pytest imports test files by their bare name"
    for path in TEST_FILES:
        functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
        assert any(node.name.startswith("test_") for node in functions), f"{short(path)} tests nothing"
