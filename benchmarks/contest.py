"""The script's side of taking turns: contenders in processes of their own, of which one computes at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from loops.task import Task

HERE = Path(__file__).resolve().parent
TUNING = ("OMP_WAIT_POLICY", "THP_MEM_ALLOC_ENABLE")
"""What Snowmelt's commands set for the processor. No contender inherits it; those that are to have it set it."""

COLD_STEPS = 5
"""Steps at the head of a turn that are not timed; two loading processes have four batches ready by then."""


class Contender:
    """A loop in a process of its own, idle between two turns.

    Args:
        module: of ``loops``.
        log: file for what it prints.
    """

    def __init__(self, name: str, module: str, task: Task, log: Path) -> None:
        self.name, self.log = name, log
        path = os.pathsep.join(part for part in (str(HERE), os.environ.get("PYTHONPATH")) if part)
        environment = {key: value for key, value in os.environ.items() if key not in TUNING} | {"PYTHONPATH": path}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"loops.{module}", task.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self.about = self._answer()  # it has made its first step

    def turn(self, steps: int, cold: int = COLD_STEPS, thawed: int | None = None) -> float:
        """Images per second over ``steps`` steps, after ``cold`` others; ``thawed`` blocks learn from then on."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"steps": steps, "cold": cold, "thawed": thawed}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        answer = self._answer()
        return answer["images"] / answer["seconds"]

    def close(self) -> None:
        """Let it go; it ends by itself when nobody asks any more."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        found: dict[str, Any] = json.loads(line)
        return found

    def _fail(self) -> None:
        self.close()
        said = "\n".join(self.log.read_text().splitlines()[-25:])
        raise SystemExit(f"{said}\n\nthe contender {self.name} ended; the lines above are its last")
