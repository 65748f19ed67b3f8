from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from snowmelt.reporting import ProgressDisplay
from snowmelt.reporting.progress import epoch_line, step_figures
from snowmelt.training.events import Event, Message


def shown(events: list[Event], live: bool | None = None, width: int = 80, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    display = ProgressDisplay(console=console, live=live)
    for event in events:
        display.receive(event)
    display.close()
    return console.file.getvalue()


def test_plain_output_has_one_line_an_epoch(fake_run: Callable) -> None:
    text = shown(fake_run().whole())
    lines = [line for line in text.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 6
    assert lines[2].startswith("epoch 2 of 0-5 | T 2.96 | thawed 1 | lr 1.00e-03/1.00e-04 | train total ")
    assert "teacher 0.8000" in lines[2]
    assert "40.0 images/s" in lines[2]
    assert text.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)


def test_forced_colours_do_not_bring_control_characters(fake_run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = Console(file=io.StringIO())
    display = ProgressDisplay(console=console)
    for event in [Message("careful", "warning"), *fake_run().whole()]:
        display.receive(event)
    assert "\x1b" not in console.file.getvalue()


def test_warnings_are_told_and_repeated(fake_run: Callable) -> None:
    text = shown([Message("weights [imagenet] are not reachable", "warning"), *fake_run().whole()])
    assert "warning: weights [imagenet] are not reachable\n" in text
    assert text.rstrip().endswith("  - weights [imagenet] are not reachable")
    assert "Best mIoU" in text


@pytest.mark.parametrize("width", [40, 80, 120])
def test_live_bars(fake_run: Callable, width: int) -> None:
    text = shown([Message("[b]careful[/b]", "warning"), *fake_run().whole()], True, width, terminal=True)
    assert "\x1b[" in text
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "[b]careful[/b]" in plain
    assert "12/12 steps" in plain
    assert "epoch 5 of" in plain
    assert "images/s" in plain
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor comes back


def test_live_bars_go_on_where_the_run_was(fake_run: Callable) -> None:
    run = fake_run()
    text = shown([run.started(3, 6, resumed=True), *run.epoch(3)], True, 100, terminal=True)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert "Going on with fake from epoch 3" in plain.replace("\n", " ")
    assert "6/12 steps" in plain  # at once, not from 0
    assert "8/12 steps" in plain


def test_an_error_gives_the_terminal_back(fake_run: Callable) -> None:
    run = fake_run()
    text = shown([run.started(), *run.epoch(0, last=1)], True, terminal=True)
    assert text.count("\x1b[?25h") == 1


def test_figures(fake_run: Callable) -> None:
    run = fake_run()
    assert step_figures(run.step(0, 1), {"total": 0.5}, 41.26) == (
        "total 0.5000  T 4.00  thawed 0  lr 5.00e-05/5.00e-06  41.3 images/s".replace("5.00e-05/5.00e-06", _warm(run))
    )
    assert "T " not in step_figures(fake_run(teacher=False).step(0, 1), {}, 1.0)
    line = epoch_line(run.record(1, step_in_epoch=1))
    assert line.startswith("epoch 1 (partial) | ")
    assert "best" not in line


def _warm(run: object) -> str:
    rates = run.step(0, 1).learning_rates  # type: ignore[attr-defined]
    return f"{rates['decoder']:.2e}/{rates['blocks.0']:.2e}"
