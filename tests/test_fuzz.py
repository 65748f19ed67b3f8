"""The fuzzer: a small part of it here and now, that it sees what it is there to see, and that it repeats itself."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from snowmelt.errors import SnowmeltError

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks" / "reliability"))
fuzz, sandbox, mutations = (import_module(name) for name in ("fuzz", "fuzz_sandbox", "fuzz_mutations"))

CASES = 160


@pytest.fixture(scope="module")
def kinds() -> tuple[list[Any], list[bytes]]:
    return fuzz.warm_up()


def test_sound_files_are_taken(kinds: Any, tmp_path: Path) -> None:
    rows = fuzz.fuzz(fuzz.sound_cases(kinds[0]), kinds[1], tmp_path, apart=False)
    assert [row for row in rows if row["state"] != "accepted"] == []
    assert len(rows) > 60


def test_damaged_files_are_taken_or_refused_in_a_line_that_names_them(kinds: Any, tmp_path: Path) -> None:
    rows = fuzz.fuzz(list(fuzz.cases(kinds[0], CASES, seed=1)), kinds[1], tmp_path, apart=False)
    assert [(row["case"], row["what"]) for row in rows if row["state"] == "violation"] == []
    count = Counter(row["state"] for row in rows)
    assert count["refused"] > CASES / 3 and count["accepted"] > CASES / 8
    assert {row["kind"] for row in rows} == {kind.name for kind in kinds[0]}


def test_a_case_is_decided_by_seed_and_number(kinds: Any, tmp_path: Path) -> None:
    def contents(seed: int) -> list[bytes]:
        found = []
        for case in fuzz.cases(kinds[0], 40, seed):
            room, _, _ = fuzz.set_up(case, kinds[1], tmp_path / "case", b"model")
            found.append(room.file.read_bytes())
        return found

    first = contents(1)
    assert contents(1) == first
    assert contents(2) != first


def outcome_of(job: Any, tmp_path: Path) -> Any:
    for name in ("run", "place"):
        (tmp_path / name).mkdir(exist_ok=True)
    return sandbox.run_case(
        job, SnowmeltError, ("bad.png",), tmp_path / "run", tmp_path / "place", tmp_path / "noise.txt"
    )


def refuse(text: str) -> None:
    raise SnowmeltError(text, code="image-unreadable")


def test_what_is_well(tmp_path: Path) -> None:
    assert outcome_of(lambda: None, tmp_path).state == "accepted"
    assert outcome_of(lambda: (0, "fine"), tmp_path).state == "accepted"
    assert outcome_of(lambda: refuse("bad.png: no"), tmp_path).state == "refused"
    assert outcome_of(lambda: (1, "error: bad.png: no"), tmp_path).state == "refused"
    assert outcome_of(lambda: (tmp_path / "run" / "x").write_text("x") and None, tmp_path).state == "accepted"


VIOLATIONS = {
    "another exception": (lambda root: 1 / 0, "ZeroDivisionError"),
    "an exit": (lambda root: sys.exit(3), "SystemExit"),
    "two lines": (lambda root: refuse("bad.png: no\nno"), "more than one line"),
    "no name": (lambda root: refuse("no"), "does not name the file"),
    "no name from a command": (lambda root: (1, "error: no"), "does not name the file"),
    "a strange code": (lambda root: (2, "bad.png"), "exit code 2"),
    "a crash": (lambda root: os.kill(os.getpid(), 9), "died of SIGKILL"),
    "a silent end": (lambda root: os._exit(0), "said nothing"),
    "a file outside": (lambda root: (root / "place" / "x").write_text("x") and None, "opened .* to write"),
    "a folder outside": (lambda root: (root / "beside").mkdir(), "os.mkdir"),
    "a program": (lambda root: (os.system("true"), None)[1], "os.system"),
    "a pickle": (lambda root: __import__("pickle").loads(b"cos\ngetcwd\n.") and None, "pickle.find_class"),
    "a traceback": (lambda root: os.write(2, b"Traceback (most recent call last)") and None, "printed a traceback"),
    "a warning": (lambda root: __import__("warnings").warn("odd", stacklevel=1), "warned: odd"),
    "memory": (lambda root: np.ones(3 << 20, np.uint8).sum() and None, "took .* GiB"),
    "computing": (lambda root: [None for _ in iter(int, 1)], "took more than"),
    "waiting": (lambda root: time.sleep(60), "took more than"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="measures processes as Linux does")
@pytest.mark.parametrize("name", VIOLATIONS)
def test_what_is_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, reason = VIOLATIONS[name]
    if name == "memory":
        monkeypatch.setattr(sandbox, "MEMORY", 1 << 20)
    if name in ("computing", "waiting"):
        monkeypatch.setattr(sandbox, "SECONDS", 0.2)
        monkeypatch.setattr(sandbox, "WAITING", 0.3 if name == "waiting" else 50)
    outcome = outcome_of(lambda: job(tmp_path), tmp_path)
    assert outcome.state == "violation"
    assert [each for each in outcome.what if __import__("re").search(reason, each)], outcome.what


def test_a_changed_file_is_seen_whatever_changed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    before = sandbox.listing(tmp_path, tmp_path / "run")
    (tmp_path / "run" / "new").write_text("x")
    assert sandbox.changed(before, sandbox.listing(tmp_path, tmp_path / "run")) == []
    about = (tmp_path / "a").stat()
    (tmp_path / "a").write_text("A")  # of the same size
    os.utime(tmp_path / "a", ns=(about.st_atime_ns, about.st_mtime_ns))  # and time
    (tmp_path / "b").unlink()
    (tmp_path / "d").mkdir()
    found = sandbox.changed(before, sandbox.listing(tmp_path, tmp_path / "run"))
    assert [Path(name).name for name in found] == ["a", "b", "d"]


@pytest.mark.parametrize("mutation", sorted(set(mutations.BYTES), key=lambda each: each.__name__))
def test_every_mutation_takes_any_content(mutation: Any) -> None:
    for content in (b"", b"x", bytes(3000)):
        for number in range(30):
            assert isinstance(mutation(content, Random(number)), bytes)
