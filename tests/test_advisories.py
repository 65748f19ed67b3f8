"""No release with a known hole is locked: scripts/advisories.toml against requirements.lock."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
BAD: list[dict[str, Any]] = tomllib.loads((ROOT / "scripts" / "advisories.toml").read_text())["bad"]
LOCK = (ROOT / "requirements.lock").read_text()
IDENTIFIER = re.compile(r"CVE-20\d\d-\d{4,}|GHSA(-[23456789cfghjmpqrvwx]{4}){3}|PYSEC-20\d\d-\d+")


def locked(text: str) -> list[tuple[str, Version]]:
    """Every name with every version that a lock has for it, whatever the platform."""
    lines = re.findall(r"(?m)^[A-Za-z0-9][^\s;\\]*==[^\s;\\]+", text)
    found = [Requirement(line) for line in lines]
    return [(canonicalize_name(each.name), Version(next(iter(each.specifier)).version)) for each in found]


def known_bad(text: str) -> list[str]:
    """What a lock holds that the list forbids, with the reason."""
    return [
        f"{name} {version} is {entry['range']}: {entry['why']} ({', '.join(entry['sources'])})"
        for name, version in locked(text)
        for entry in BAD
        if canonicalize_name(entry["name"]) == name and SpecifierSet(entry["range"]).contains(version, prereleases=True)
    ]


def test_the_lock_holds_nothing_that_is_known_to_be_bad() -> None:
    assert len(locked(LOCK)) > 100
    assert known_bad(LOCK) == []


@pytest.mark.parametrize(
    ("pin", "source"),
    [
        ("torch==2.9.1", "CVE-2026-24747"),
        ("torch==2.10.0", "CVE-2026-4538"),
        ("Pillow==12.2.0", "CVE-2026-59199"),
        ("lightning-fabric==2.6.3", "GHSA-w37p-236h-pfx3"),
        ("lightning_fabric==2.6.5", "GHSA-qqmf-gpg7-g8gw"),
        ("onnx==1.20.1", "CVE-2026-34445"),
        ("opencv-python-headless==4.11.0.86 ; sys_platform == 'win32'", "CVE-2025-53644"),
    ],
)
def test_an_old_release_in_a_lock_is_found(pin: str, source: str) -> None:
    name = canonicalize_name(Requirement(pin).name)
    (line,) = [line for line in LOCK.splitlines() if line.startswith(f"{name}==")]
    found = known_bad(LOCK.replace(line, f"{pin} \\"))
    assert found and all(name in each for each in found)
    assert any(source in each for each in found)


def test_every_entry_says_why_and_who_says_so() -> None:
    names = {name for name, _ in locked(LOCK)}
    for entry in BAD:
        assert entry["name"] in names, f"{entry['name']} is not locked any more; remove its entry"
        assert len(SpecifierSet(entry["range"])) == 1 and entry["why"]
        assert entry["sources"] and all(IDENTIFIER.fullmatch(source) for source in entry["sources"]), entry


def test_what_the_requirements_exclude_is_what_the_list_forbids() -> None:
    """Also for those who install without the lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = {Requirement(line).name: Requirement(line).specifier for line in project["dependencies"]}
    for name, last in (("torch", "2.9.1"), ("pillow", "12.2.0"), ("lightning-fabric", "2.6.5"), ("jinja2", "3.1.5")):
        assert known_bad(f"{name}=={last} \\\n") and not ranges[name].contains(last)
