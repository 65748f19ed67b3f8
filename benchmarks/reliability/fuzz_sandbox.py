"""One case in a process of its own: what it may use, what it may touch, and what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 10
"""Of processor time, which a busy machine does not use up for a case."""
WAITING = 180
"""Seconds of the clock, for what waits and computes nothing; a busy machine may keep a case waiting, too."""
MEMORY = 2 << 30
"""Bytes above what the warm process has."""
_SLACK = 512 << 20  # of address space that threads' stacks and arenas take without using it

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {
    "os.remove": 1, "os.rename": 2, "os.mkdir": 1, "os.rmdir": 1, "os.link": 2, "os.symlink": 2, "os.truncate": 1,
    "os.chmod": 1, "os.chown": 1, "os.utime": 1, "os.setxattr": 1, "shutil.rmtree": 1, "shutil.move": 2,
    "shutil.copyfile": 2, "shutil.copytree": 2,
}  # fmt: skip
"""Audit events that change files -> how many of their arguments are paths."""
_NEVER = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "pty.spawn", "socket.connect",
          "pickle.find_class")  # fmt: skip
"""What no file may bring about: other programs, connections, and a pickle that asks for something by name."""


@dataclass
class Outcome:
    """What came of a case.

    Attributes:
        state: ``accepted``, ``refused`` or ``violation``.
        what: of a violation the reasons; of a refusal what was said.
        seconds: of processor time.
        base: bytes that the process had when it began.
        memory: bytes at the peak, above those.
    """

    state: str = "accepted"
    what: list[str] = field(default_factory=list)
    seconds: float = 0.0
    base: int = 0
    memory: int = 0
    chatter: str = ""

    def violate(self, reason: str) -> None:
        self.what = [*(self.what if self.state == "violation" else []), reason]
        self.state = "violation"


def listing(root: Path, leave_out: Path) -> dict[str, tuple[int, int, str]]:
    """Time of change, size and digest of every file below ``root``, those in ``leave_out`` aside; folders, too."""
    found: dict[str, tuple[int, int, str]] = {}
    for current, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(current, name) != leave_out]
        for name in folders:
            found[os.path.join(current, name)] = (0, 0, "folder")
        for name in files:
            path = Path(current, name)
            about = path.lstat()
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            found[str(path)] = (about.st_mtime_ns, about.st_size, hashlib.blake2b(content).hexdigest())
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Files that came, went or changed."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def watch(allowed: Path, found: list[str]) -> None:
    """Note everything that this process changes outside of ``allowed``, starts, connects to or unpickles. For good."""
    inside = os.path.realpath(allowed)

    def is_allowed(path: Any) -> bool:
        if isinstance(path, int) or path is None:
            return True
        real = os.path.realpath(os.fsdecode(path))
        return real == inside or real.startswith((inside + os.sep, "/dev/null", "/proc/self/"))

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (flags or 0) & _WRITES
            if writes and not is_allowed(path):
                found.append(f"opened {path} to write")
        elif event in _CHANGES:
            found.extend(f"{event} {path}" for path in arguments[: _CHANGES[event]] if not is_allowed(path))
        elif event.startswith(_NEVER):
            found.append(f"{event} {str(arguments)[:200]}")

    sys.addaudithook(hook)


def run_case(
    job: Callable[[], tuple[int, str] | None],
    mine: type[Exception],
    names: tuple[str, ...],
    allowed: Path,
    place: Path,
    noise: Path,
) -> Outcome:
    """Run ``job`` in a child of this process.

    Args:
        job: raises ``mine`` for a refusal, or gives an exit code and what was printed.
        names: one of these must stand in what is said of a refusal.
        allowed: the only folder in which files may change.
        place: working directory, home and temporary folder.
        noise: where standard output and error of the child go.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forking beside threads: none of ours runs while a case begins
        child = os.fork()
    if child == 0:
        os.close(reading)
        _be_child(job, mine, names, allowed, place, noise, writing)  # never returns
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status, usage = os.wait4(child, 0)
    outcome = Outcome(**json.loads(told)) if told else Outcome("violation")
    outcome.memory = max(0, usage.ru_maxrss * 1024 - outcome.base)
    outcome.seconds = usage.ru_utime + usage.ru_stime
    outcome.chatter = noise.read_text(errors="replace")
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        late = {signal.SIGALRM: f"{WAITING} s of the clock", signal.SIGPROF: f"{SECONDS} s of a processor"}.get(number)
        outcome.violate(f"took more than {late}" if late else f"died of {signal.Signals(number).name}")
    elif not told:
        outcome.violate(f"ended with code {os.waitstatus_to_exitcode(status)} and said nothing")
    if outcome.memory > MEMORY:
        outcome.violate(f"took {outcome.memory / 2**30:.1f} GiB")
    if "Traceback (most recent call last)" in outcome.chatter:
        outcome.violate(f"printed a traceback: {outcome.chatter[-1500:]}")
    return outcome


def _be_child(job: Any, mine: Any, names: Any, allowed: Path, place: Path, noise: Path, writing: int) -> None:
    touched: list[str] = []
    outcome = Outcome(base=_resident())
    try:
        descriptor = os.open(noise, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.chdir(place)
        os.environ.update(HOME=str(place), TMPDIR=str(place), XDG_CACHE_HOME=str(place))
        os.environ.pop("SNOWMELT_DEBUG", None)
        limit = _virtual() + MEMORY + _SLACK
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for number, timer, seconds in (
            (signal.SIGPROF, signal.ITIMER_PROF, SECONDS),
            (signal.SIGALRM, signal.ITIMER_REAL, WAITING),
        ):
            signal.signal(number, signal.SIG_DFL)
            signal.setitimer(timer, seconds)
        watch(allowed, touched)
        with warnings.catch_warnings(record=True) as warned:  # those that a user would see
            judge(job, mine, names, outcome)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for line in dict.fromkeys(str(each.message) for each in warned):
            outcome.violate(f"warned: {line[:300]}")
        for line in dict.fromkeys(touched):
            outcome.violate(line)
    except BaseException:  # of this file
        outcome.violate(traceback.format_exc()[-3000:])
    sys.stdout.flush()
    sys.stderr.flush()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(json.dumps(asdict(outcome)).encode())
    os._exit(0)


def judge(
    job: Callable[[], tuple[int, str] | None], mine: type[Exception], names: tuple[str, ...], outcome: Outcome
) -> None:
    """Whether what came was an answer or a refusal in one line that names the file."""
    try:
        said = job()
    except mine as error:
        text = str(error)
        outcome.state, outcome.what = "refused", [text[:600]]
        if "\n" in text:
            outcome.violate(f"more than one line: {text[:1000]!r}")
        if not any(name in text for name in names):
            outcome.violate(f"does not name the file: {text[:600]}")
        if len(text) > 2000:
            outcome.violate(f"{len(text)} characters are no line: {text[:300]}")
        return
    except BaseException:
        outcome.violate(traceback.format_exc()[-3000:])
        return
    if said is None or said[0] == 0:
        return
    code, text = said
    lines = [line for line in text.splitlines() if any(name in line for name in names)]
    outcome.state, outcome.what = "refused", [line[:600] for line in lines[:3]]
    if code != 1:
        outcome.violate(f"exit code {code}: {text[-600:]}")
    if not lines:
        outcome.violate(f"does not name the file: {text[-600:]}")


def _virtual() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
