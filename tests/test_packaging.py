"""What is installed is what was locked: requirements.lock, the constraints in pyproject.toml and the project agree."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()
UV_LOCK = (ROOT / "scripts" / "uv.txt").read_text()
CONSTRAINTS: list[str] = PROJECT["tool"]["uv"]["constraint-dependencies"]
# Put together here, so that this file does not find itself.
HOSTS = ["py" + "pi.org", "python" + "hosted.org"]
MACHINE_PATHS = re.compile(r"(?<![\w.~/-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot"]) + r")(?![\w-])")


def entries(text: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Every requirement of a locked file with its hashes; any other line is an error."""
    for entry in text.replace("\\\n", " ").splitlines():
        requirement, *hashes = re.split(r"\s--hash=", entry)
        yield Requirement(requirement), [value.strip() for value in hashes]


LOCKED = [requirement for requirement, _ in entries(LOCK)]


def pins(requirements: list[Requirement]) -> set[tuple[str, str, str]]:
    """Name, ``==version`` and marker, spelled in one way."""
    return {
        (canonicalize_name(requirement.name), str(requirement.specifier), str(requirement.marker or ""))
        for requirement in requirements
    }


def locked_version(name: str) -> Version:
    """The version that is locked for the platform on which the tests run."""
    found = [
        requirement
        for requirement in LOCKED
        if canonicalize_name(requirement.name) == canonicalize_name(name)
        and (requirement.marker is None or requirement.marker.evaluate())
    ]
    assert len(found) == 1, f"{name} is locked {len(found)} times for this platform"
    return Version(str(found[0].specifier).removeprefix("=="))


def tracked_files() -> list[Path]:
    """Files under version control, or in an unpacked archive all that is not hidden."""
    # The folder may belong to somebody else, as in a container; listing names is harmless there.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        return [ROOT / name for name in listed if name and (ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not path.relative_to(ROOT).parts[0].startswith(".")]


def registry_hosts() -> set[str]:
    """Hosts of the public registry, and of whatever registry this machine has been pointed at."""
    settings = [value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_"))]
    if (ROOT / "uv.lock").exists():
        settings.append((ROOT / "uv.lock").read_text())
    # A name with a top-level domain; localhost and bare addresses say nothing.
    address = re.compile(r"https?://(?:[^@/\s]*@)?((?:[\w-]+\.)+[a-z]{2,})")
    return {*HOSTS, *(host for value in settings for host in address.findall(value))}


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return "" if b"\0" in data else data.decode(errors="replace")


def test_lock_and_constraints_hold_the_same_versions() -> None:
    assert LOCKED
    assert pins(LOCKED) == pins([Requirement(line) for line in CONSTRAINTS])
    assert len(CONSTRAINTS) == len(LOCKED) == len(pins(LOCKED))


@pytest.mark.parametrize("text", [LOCK, UV_LOCK], ids=["requirements.lock", "scripts/uv.txt"])
def test_every_requirement_is_one_version_with_hashes(text: str) -> None:
    for requirement, hashes in entries(text):
        assert re.fullmatch(r"==[\w.!+]+", str(requirement.specifier)), requirement
        assert requirement.url is None
        assert hashes, f"{requirement} has no hash"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", value) for value in hashes)


def test_builds_are_pinned_too() -> None:
    pinned = [Requirement(line) for line in PROJECT["tool"]["uv"]["build-constraint-dependencies"]]
    versions = {requirement.name: str(requirement.specifier).removeprefix("==") for requirement in pinned}
    for line in PROJECT["build-system"]["requires"]:
        wanted = Requirement(line)
        assert versions[wanted.name] in wanted.specifier


@pytest.mark.parametrize(
    "line", [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]], ids=lambda line: line
)
def test_every_dependency_is_locked_within_its_range(line: str) -> None:
    wanted = Requirement(line)
    assert locked_version(wanted.name) in wanted.specifier


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("torch", "2.10"),
        ("pillow", "12.3"),
        ("lightning-fabric", "2.6.6"),  # 2.6.2 and 2.6.3 were malicious; earlier ones run code from a checkpoint
        ("tensorboard", "2.21"),
    ],
)
def test_releases_with_known_holes_are_excluded(name: str, least: str) -> None:
    assert locked_version(name) >= Version(least)
    (wanted,) = [Requirement(line) for line in PROJECT["project"]["dependencies"] if Requirement(line).name == name]
    assert f">={least}" in str(wanted.specifier)  # also for those who install without the lock


def test_what_runs_here_is_what_was_locked() -> None:
    """Also that the environment is whole: a test that passes with another torch says little."""
    applicable = [item for item in LOCKED if item.marker is None or item.marker.evaluate()]
    assert {item.name: metadata.version(item.name) for item in applicable} == {
        item.name: str(item.specifier).removeprefix("==") for item in applicable
    }


@pytest.mark.parametrize("name", ["requirements.lock", "scripts/uv.txt", "pyproject.toml"])
def test_no_address_stands_where_versions_are_pinned(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"(?m)^\s*(-i|-f|--(extra-)?index-url|--find-links)\b", text)
    assert "index" not in PROJECT["tool"]["uv"]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    files = tracked_files()
    assert ROOT / "pyproject.toml" in files
    hosts = registry_hosts()
    for path in files:
        text = text_of(path)
        assert not [host for host in hosts if host in text], f"{path.relative_to(ROOT)} names a package registry"
        assert not MACHINE_PATHS.search(text), f"{path.relative_to(ROOT)} names a path of one machine"


def test_uv_lock_is_not_tracked() -> None:
    assert ROOT / "uv.lock" not in tracked_files()
    assert "uv.lock" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_commands_that_newcomers_type_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in ("setup", "demo", "test", "lint", "types", "docs", "lock", "clean"):
        assert re.search(rf"(?m)^{target}:", makefile)
    check = ROOT / ".ci" / "run"
    assert os.access(check, os.X_OK)
    steps = [line for line in check.read_text().splitlines() if line.startswith("make ")]
    assert steps == [
        "make lint",
        "make types",
        "make docs",
        "make test",
    ]  # their count comes last


def test_the_package_says_who_it_is() -> None:
    distribution = metadata.distribution("snowmelt")
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    version = re.fullmatch(r'__version__ = "(.+)"\n', (ROOT / "src/snowmelt/_version.py").read_text())
    assert version is not None
    assert distribution.version == version[1]
    (entry,) = distribution.entry_points.select(group="console_scripts")
    assert (entry.name, entry.value) == ("snowmelt", "snowmelt.cli.app:main")
    assert callable(entry.load())
    assert (ROOT / "src/snowmelt/py.typed").is_file()
    assert "Copyright 2026 Snowmelt contributors" in (ROOT / "LICENSE").read_text()
