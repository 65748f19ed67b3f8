"""The first signal asks for an end, the second is one; nothing is left behind for whoever comes after."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from tiny_experiments import overheard, tiny

from snowmelt.errors import Stopped
from snowmelt.jobs import catching_signals, running, train_experiment
from snowmelt.jobs.signals import Interrupted, going_on_by_itself, handed_to
from snowmelt.reporting import TextLog
from snowmelt.training.events import Event, StepEnded

pytestmark = pytest.mark.usefixtures("draws_nothing")

BOTH = [(Signals.SIGTERM, 143), (Signals.SIGINT, 130)]


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_the_first_signal_is_raised_where_nobody_looks_out(number: Signals, code: int) -> None:
    before = signal.getsignal(number)
    with catching_signals() as caught:
        with pytest.raises(Interrupted) as end:
            os.kill(os.getpid(), number)
        assert caught.first is number and end.value.code == code
    assert signal.getsignal(number) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_it_is_handed_to_a_loop_that_looks_out() -> None:
    heard: list[Signals] = []

    def ask(number: Signals) -> bool:
        heard.append(number)
        return True

    with catching_signals(), pytest.raises(Interrupted), handed_to(ask):
        os.kill(os.getpid(), Signals.SIGTERM)
        assert heard == [Signals.SIGTERM]  # and the loop goes on to its boundary, where it is missed here


def test_a_loop_that_does_not_look_yet_is_interrupted() -> None:
    with catching_signals(), pytest.raises(Interrupted), handed_to(lambda _: False):
        os.kill(os.getpid(), Signals.SIGINT)
        pytest.fail("went on")


def test_nothing_is_caught_unless_somebody_asks() -> None:
    before = signal.getsignal(Signals.SIGTERM)  # not the default where coverage is measured
    with handed_to(lambda _: True):
        assert signal.getsignal(Signals.SIGTERM) is before
    seen: list[Any] = []

    def elsewhere() -> None:
        with catching_signals():
            seen.append(signal.getsignal(Signals.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_what_is_ignored_stays_ignored() -> None:
    before = signal.signal(Signals.SIGINT, signal.SIG_IGN)
    try:
        with catching_signals():
            assert signal.getsignal(Signals.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(Signals.SIGINT, before)


# A lock is waited for in C code, and only a thread can end that; torch is not needed.
WAITING = """
import os, signal, sys, time
from snowmelt.jobs.signals import catching_signals, handed_to

with catching_signals(), handed_to(lambda number: True):
    child = os.fork()
    if child == 0:
        found = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
        os._exit(int(found != (signal.SIG_IGN, signal.SIG_DFL, -1)))
    print(os.waitpid(child, 0)[1], flush=True)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])  # never comes to the main thread
    while True:
        time.sleep(1)
"""


@pytest.mark.parametrize(("number", "code"), BOTH)
def test_the_second_signal_ends_at_once_and_forked_processes_are_left_alone(number: Signals, code: int) -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "0\n"  # the fork has neither our handlers nor our descriptor
            while process.poll() is None:  # one is not enough, and those that come too fast count as one
                process.send_signal(number)
                threading.Event().wait(0.05)
            assert process.returncode == code
        finally:
            process.kill()


def test_a_job_without_resume_says_how_it_goes_on() -> None:
    @going_on_by_itself()
    def job() -> None:
        raise Stopped("stopped by SIGINT at epoch 1, step 2; go on with --resume", Signals.SIGINT)

    with pytest.raises(Stopped, match="go on with the same command") as end:
        job()
    assert end.value.signal is Signals.SIGINT


class Shot(TextLog):
    """A text log that sends its own process a signal after the second step."""

    def receive(self, event: Event) -> None:
        super().receive(event)
        if isinstance(event, StepEnded) and event.step == 2:
            os.kill(os.getpid(), Signals.SIGTERM)


def test_a_command_s_training_stops_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny(tmp_path, "plain", training={"log_every": 1})
    with monkeypatch.context() as patch:
        files = [Shot if each is TextLog else each for each in running.FILES]
        assert Shot in files
        patch.setattr(running, "FILES", files)
        with catching_signals(), pytest.raises(Stopped):
            overheard(train_experiment, config)
    root = tmp_path / config.name
    [log] = (root / "logs").glob("training_log_*.txt")
    last = log.read_text().splitlines()[-1]
    assert last.endswith("stopped by SIGTERM at epoch 0, step 2; go on with --resume")
    assert not (root / "metrics.csv").exists() and not (root / "summary.json").exists()
    left = root / "checkpoints" / ".last.safetensors.1.tmp"  # as a SIGKILL in a save leaves it
    left.touch()
    record, _ = overheard(train_experiment, config, resume=True)
    assert not left.exists()
    assert (record["reason"], record["step"]) == ("complete", 4)
