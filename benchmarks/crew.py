"""Processes that train together, for benchmarks of the step itself: they rest between two turns and answer questions.

Unlike the contenders of ``contest`` they run no whole job, but the steps of one stage, and they may be several.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from loops.task import ALL, Task

HERE = Path(__file__).resolve().parent


class Crew:
    """``processes`` copies of ``trainer``, with the environment that ``torchrun`` would give them.

    Args:
        settings: nested settings on top of the task's.
        cores: for each process the cores that it may use; None leaves it to the system.
        threads: of the arithmetic in each process; None leaves it to PyTorch.
        resident: train on one batch that stays where it is, so that no loading is measured.
    """

    def __init__(
        self,
        task: Task,
        *,
        settings: Mapping[str, Any] | None = None,
        processes: int = 1,
        cores: Sequence[Sequence[int]] | None = None,
        threads: int | None = 1,
        resident: bool = False,
    ) -> None:
        self.folder = Path(task.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        about = json.dumps({"task": task.to_json(), "settings": dict(settings or {}), "resident": resident})
        port = _free_port()
        self._members = []
        for rank in range(processes):
            environment = _environment(rank, processes, port, threads)
            self._members.append(self._start(rank, about, environment, None if cores is None else cores[rank]))
        self.about = self._answers()[0]

    def _start(
        self, rank: int, about: str, environment: dict[str, str], cores: Sequence[int] | None
    ) -> subprocess.Popen[str]:
        code = [sys.executable, str(HERE / "trainer.py"), about]
        # Before the interpreter starts, so that every thread of every library is bound.
        if cores is not None:
            code = [sys.executable, "-c", _BOUND, json.dumps(list(cores)), *code]
        with self._log(rank).open("w") as errors:
            return subprocess.Popen(
                code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
            )

    def thaw(self, blocks: int) -> dict[str, Any]:
        """From now on so many encoder blocks learn (-1: all); gives ``trainable``, the number of parameters."""
        return self._ask({"do": "thaw", "blocks": blocks})[0]

    def turn(self, steps: int, cold: int = 2, batch: int | None = None) -> float:
        """Images per second of all processes together over ``steps`` steps, after ``cold`` that are not timed.

        ``batch``: so many images in each process and step, if not all of a batch.
        """
        answers = self._ask({"do": "steps", "steps": steps, "cold": cold, "batch": batch})
        return sum(each["images"] for each in answers) / max(each["seconds"] for each in answers)

    def peak(self, steps: int, batch: int | None = None) -> int:
        """Bytes by which the first process's memory rises in so many steps, over what it had in use before any.

        Memory that was once used may not be given back: ask for small batches first.
        """
        return int(self._ask({"do": "peak", "steps": steps, "batch": batch})[0]["bytes"])

    def collectives(self) -> list[tuple[str, int]]:
        """Name and bytes of every call of the first process to its group in one step."""
        return [(name, size) for name, size in self._ask({"do": "collectives"})[0]["found"]]

    def close(self) -> None:
        """Let them go; they end by themselves when nobody asks any more."""
        for member in self._members:
            if member.stdin is not None:
                member.stdin.close()
        for member in self._members:
            try:
                member.wait(timeout=60)
            except subprocess.TimeoutExpired:
                member.kill()
                member.wait()
            if member.stdout is not None:
                member.stdout.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        for rank, member in enumerate(self._members):
            assert member.stdin is not None
            try:
                member.stdin.write(json.dumps(request) + "\n")
                member.stdin.flush()
            except BrokenPipeError:
                self._fail(rank)
        return self._answers()

    def _answers(self) -> list[dict[str, Any]]:
        answers = []
        for rank, member in enumerate(self._members):
            assert member.stdout is not None
            line = member.stdout.readline()
            if not line:
                self._fail(rank)
            answers.append(json.loads(line))
        return answers

    def _fail(self, rank: int) -> None:
        for member in self._members:
            member.kill()  # the others may wait for the one that ended
        self.close()
        said = "\n".join(self._log(rank).read_text().splitlines()[-25:])
        raise SystemExit(f"{said}\n\nprocess {rank} ended; the lines above are its last")

    def _log(self, rank: int) -> Path:
        return self.folder / f"process-{rank}.log"


_BOUND = "import json, os, sys; os.sched_setaffinity(0, json.loads(sys.argv[1])); os.execv(sys.argv[2], sys.argv[2:])"


def count_or_all(text: str) -> int:
    """A number of thawed blocks as it is given to a script; ``all`` is ``ALL``."""
    return ALL if text == "all" else int(text)


def usable_cores() -> list[int]:
    """The cores that this process may use; empty where the system does not tell."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _environment(rank: int, processes: int, port: int, threads: int | None) -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(HERE), os.environ.get("PYTHONPATH")) if part)
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    if processes > 1:
        environment |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "GROUP_RANK": "0",
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
