"""Resolve all dependencies anew and write down what came out, in every place that pins it.

    requirements.lock       what `make setup` installs: versions and hashes, no registry addresses
    pyproject.toml          the same versions as uv constraints, so that a plain `uv run` agrees; also for builds
    scripts/uv.txt          uv itself, for machines that lack it

`uv.lock` cannot take their place: it names the hosts of whoever wrote it. With --check nothing is written, and the
exit status tells whether the constraints of today still lead to the locked versions.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "pyproject.toml"
REQUIREMENTS = ROOT / "requirements.lock"
UV_REQUIREMENTS = ROOT / "scripts" / "uv.txt"
UV = os.environ.get("UV", "uv")
PLAIN = ["--no-header", "--no-annotate", "--quiet"]
# The version is read from the sources when the project's own metadata is built, so these come along.
BUILD_INPUTS = ["README.md", "LICENSE", "src/snowmelt/_version.py"]


def main() -> None:
    parser = argparse.ArgumentParser(description="Resolve all dependencies anew and write the pins.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where the pins no longer hold")
    if parser.parse_args().check:
        if export(PROJECT.read_text()) != REQUIREMENTS.read_text():
            sys.exit("requirements.lock and the constraints in pyproject.toml disagree; run `make lock`")
        return

    unpinned = with_pins(
        with_pins(PROJECT.read_text(), "constraint-dependencies", []), "build-constraint-dependencies", []
    )
    locked = export(unpinned)
    pinned = with_pins(unpinned, "constraint-dependencies", versions(locked))
    pinned = with_pins(pinned, "build-constraint-dependencies", versions(compile_pins(build_requirements(unpinned))))
    if export(pinned) != locked:
        sys.exit("the constraints do not lead back to the versions they were made from; nothing was written")
    PROJECT.write_text(pinned)
    REQUIREMENTS.write_text(locked)
    UV_REQUIREMENTS.write_text(compile_pins(["uv"]))
    print(f"locked {len(versions(locked))} packages")


def export(project: str) -> str:
    """Requirements with hashes, for all platforms and all groups, of the project described by ``project``."""
    with tempfile.TemporaryDirectory() as folder:
        for name in BUILD_INPUTS:
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        Path(folder, "pyproject.toml").write_text(project)
        return uv("export", "--all-groups", "--no-emit-project", *PLAIN, folder=folder)


def compile_pins(requirements: list[str]) -> str:
    """Requirements with hashes, for all platforms, of what does not belong to the project's own environment."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "requirements.in")
        source.write_text("\n".join(requirements))
        arguments = ["--universal", "--python-version", "3.11", "--generate-hashes", *PLAIN, source.name]
        return uv("pip", "compile", *arguments, folder=folder)


def build_requirements(project: str) -> list[str]:
    """What builds the package; hatchling asks for editables only once it builds an editable one."""
    return [*tomllib.loads(project)["build-system"]["requires"], "editables"]


def versions(locked: str) -> list[str]:
    """``name==version ; marker`` of every requirement, without the hashes."""
    return [line.removesuffix("\\").rstrip() for line in locked.splitlines() if re.match(r"[A-Za-z0-9]", line)]


def with_pins(project: str, key: str, pins: list[str]) -> str:
    """``project`` with the list under ``key`` replaced."""
    block = "".join(f'    "{pin}",\n' for pin in pins)
    text, count = re.subn(rf"(?ms)^{key} = \[\n.*?^\]", lambda _: f"{key} = [\n{block}]", project)
    if count != 1:
        sys.exit(f"pyproject.toml must hold one list `{key}` with its brackets on lines of their own")
    return text


def uv(*arguments: str, folder: str) -> str:
    try:
        return subprocess.run([UV, *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.CalledProcessError as error:
        sys.exit(f"`uv {' '.join(arguments)}` failed with status {error.returncode}")


if __name__ == "__main__":
    main()
