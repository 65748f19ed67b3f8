"""Every command that works for a while gets a real signal in its middle: one line, and nothing half done."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_experiments import overheard, tiny, tiny_flags, undrawn
from torch import nn

from snowmelt.jobs import train_experiment


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a tiny student. Look, do not touch."""
    output = tmp_path_factory.mktemp("stopped")
    with undrawn():
        overheard(train_experiment, tiny(output, "plain", training={"epochs": 1}))
    return output / "plain"


@contextmanager
def signal_at(call: int, number: signal.Signals) -> Iterator[None]:
    """Send this process a signal from within the ``call``-th convolution."""
    left = call

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)

    hook = nn.modules.module.register_module_forward_hook(
        lambda module, *_: count() if isinstance(module, nn.Conv2d) else None
    )
    try:
        yield
    finally:
        hook.remove()
    assert left <= 0, "the work was over before the signal came"


def files_of(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


CONVOLUTIONS = 60  # of the tiny student, about: so a signal at 100 comes in the second batch


@pytest.mark.parametrize(
    "flags",
    [
        ("evaluate", "--worst", "1"),
        ("export", "--format", "onnx"),
        ("benchmark", "--size", "32", "--rounds", "1", "--threads", "1"),
    ],
    ids=lambda flags: str(flags[0]),
)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_has_no_resume_leaves_everything_as_it_was(
    flags: tuple[str, ...], number: signal.Signals, code: int, snowmelt_command: Any, student: Path
) -> None:
    before = files_of(student.parent)
    with signal_at(CONVOLUTIONS // 2, number):
        answer = snowmelt_command(flags[0], str(student), *flags[1:])
    assert answer.code == code
    said = f"stopped by {number.name}; no file was left half written; give the command again"
    assert answer.err.splitlines()[-1] == said
    assert "Traceback" not in answer.err
    assert files_of(student.parent) == before


def test_predict_keeps_whole_pictures_and_goes_on(snowmelt_command: Any, student: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (64, 64), (40 * number, 90, 9)).save(tmp_path / "in" / f"{number}.png")
    command = ("predict", str(student), str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--batch-size", "1")
    with signal_at(4 * CONVOLUTIONS, signal.SIGTERM):
        answer = snowmelt_command(*command)
    assert answer.code == 143
    assert answer.err.splitlines()[-1] == ("stopped by SIGTERM; what was saved is kept, and --resume goes on from it")
    there = sorted((tmp_path / "out").rglob("*.png"))
    kept = {path: path.read_bytes() for path in there}
    assert 0 < len(there) < 12
    for path in there:
        Image.open(path).load()
    assert snowmelt_command(*command, "--resume").code == 0
    assert {path: path.read_bytes() for path in there} == kept
    assert not [path for path in (tmp_path / "out").rglob("*") if ".tmp" in path.name]
    whole = snowmelt_command(*command[:-4], "--output", str(tmp_path / "again"), "--batch-size", "1")
    assert whole.code == 0
    assert _masks(tmp_path / "out") == _masks(tmp_path / "again")


def _masks(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*.png")}


@pytest.mark.parametrize(
    ("command", "call"), [("teach", 4), ("cache", 11), ("compare", 20)], ids=lambda each: str(each)
)
def test_what_goes_on_by_itself_says_so_and_does(
    command: str, call: int, snowmelt_command: Any, tmp_path: Path
) -> None:
    flags = [*tiny_flags(tmp_path), "--epochs", "1", "--set", "teacher.epochs=1", "--set", "teacher.mode=cached"]
    own = ["--arms", "plain,kd", "--seeds", "1"] if command == "compare" else []
    with undrawn(), signal_at(call * CONVOLUTIONS, signal.SIGTERM):
        answer = snowmelt_command(command, "fine_tuning", *flags, *own)
    assert answer.code == 143
    [line] = [each for each in answer.err.splitlines() if each.startswith("stopped by SIGTERM")]
    assert "the same command" in line and "--resume" not in line
    with undrawn():
        assert snowmelt_command(command, "fine_tuning", *flags, *own).code == 0
    assert not [path for path in tmp_path.rglob("*") if ".tmp" in path.name]
