"""Does a run that is killed anywhere end where it would have ended? SIGKILL at random moments, then on to the end.

    python benchmarks/reliability/kill_anywhere.py
    python benchmarks/reliability/kill_anywhere.py --kills 20 --seed 7 --draw

A run is distillation on embedded data: a teacher trains, its answers are stored, the student trains while its blocks
thaw, with a checkpoint after every step. It is started again after each kill, with `--resume`, is killed up to five
times, and then compared with a run that nobody touched (`same_run.py`): weights, optimizer, state, metrics.csv,
validation.json, summary.json, text logs and TensorBoard. A sixth of the kills hit an export in place of a run; it is
given again, and its files compared. Plots, pictures and reports, which are drawn anew in any case, take most of the
time of so short a run and are left out without `--draw`.

Every try is a fork of one process that has imported torch, so it costs no start. Half of the moments are drawn from the
time that a run takes, half from inside a phase that is waited for; where a process was when it died is read from memory
that it shares with this one. Exit code 1 when anything differed, or a run could not go on.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import mmap
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning_fabric.strategies  # noqa: F401  # as all that a run imports late: here, so that no child has to
import torch
import torch.utils.tensorboard
from same_run import differences

from snowmelt.config import ExperimentConfig, merge, with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.jobs import caching, running, training
from snowmelt.jobs.exporting import ExportRequest, job
from snowmelt.training import Checkpoints, Scorer, loop
from snowmelt.training.out_of_memory import CarefulSteps

NAME = "killed"
PHASES = ("start", "step", "save", "thaw", "caching", "score", "finish", "export")
HOOKS: dict[str, list[tuple[Any, str]]] = {
    "step": [(CarefulSteps, "make")],
    "save": [(Checkpoints, "save_last"), (Checkpoints, "save_best")],
    "thaw": [(loop, "enter_stage")],
    "caching": [(caching, "fill_cache")],
    "score": [(Scorer, "score")],
    "finish": [(running, "finish"), (running, "write_record"), (running, "write_report")],
    "export": [(job, "_export")],
}
NETWORK = {"encoder": "tu-mobilenetv3_small_050", "weights": "none"}
SETTINGS: dict[str, Any] = {
    "name": NAME,
    "data": {"source": "scenes:4", "image_size": 64, "workers": 0},
    "student": {**NETWORK, "decoder_channels": [16, 8, 8, 8, 8]},
    "teacher": {"network": NETWORK, "mode": "cached", "epochs": 2},
    "thaw": {"start": 1, "every": 1},
    "training": {
        "epochs": 3,
        "batch_size": 2,
        "device": "cpu",
        "precision": "32",
        "calibration_batches": 1,
        "log_every": 1,
        "checkpoint_every": 1,
    },
}
MOST_KILLS = 5  # of one run
EXPORTS = 6  # one kill in so many hits an export, and one export in so many is ONNX, which takes seconds
DRAWN = ("draw_plots", "draw_predictions", "write_report")


class Board:
    """What a child says of itself, in memory that outlives it: its phase, how often and for how long it was in each."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 4096)

    @property
    def phase(self) -> str:
        return PHASES[self._memory[0]]

    @phase.setter
    def phase(self, name: str) -> None:
        self._memory[0] = PHASES.index(name)

    def times(self, name: str) -> int:
        return self._memory[64 + PHASES.index(name)]

    def seconds(self, name: str) -> float:
        """Of the last time that it was in this phase to its end, in any child."""
        return struct.unpack_from("d", self._memory, 128 + 8 * PHASES.index(name))[0]

    def clear(self) -> None:
        self.phase = "start"
        self._memory[64 : 64 + len(PHASES)] = bytes(len(PHASES))

    def during(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, which says when it runs."""
        place = PHASES.index(name)

        def inner(*arguments: Any, **options: Any) -> Any:
            before, began = self.phase, time.monotonic()
            self._memory[0], self._memory[64 + place] = place, min(255, self._memory[64 + place] + 1)
            try:
                return function(*arguments, **options)
            finally:
                struct.pack_into("d", self._memory, 128 + 8 * place, time.monotonic() - began)
                self.phase = before

        return inner


def start(work: Callable[[], object], board: Board, log: Path) -> int:
    """A child that does ``work``; its number."""
    board.clear()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        for name, places in HOOKS.items():
            for owner, attribute in places:
                patch.object(owner, attribute, board.during(name, getattr(owner, attribute))).start()
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def kill(child: int, board: Board, chance: random.Random, usual: float, phases: Iterable[str]) -> str | None:
    """Kill the child at a random moment; the phase in which it died, ``None`` where it ended before."""
    if chance.random() < 0.5:
        at = time.monotonic() + chance.uniform(0, usual)
        alive = wait(child, lambda: time.monotonic() >= at)
    else:
        phase, times = chance.choice(list(phases)), chance.randint(1, 4)
        alive = wait(child, lambda: board.times(phase) >= times)
        time.sleep(chance.uniform(0, board.seconds(phase)) if alive else 0)
    if alive:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return board.phase
        refuse_failure(os.waitstatus_to_exitcode(status))
    return None


def wait(child: int, reached: Callable[[], bool]) -> bool:
    """Until the moment is reached, or the child has ended; whether it lives."""
    while not reached():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            refuse_failure(os.waitstatus_to_exitcode(status))
            return False
        time.sleep(0.0005)
    return True


class Failed(Exception):
    """A child could not go on."""


def refuse_failure(code: int) -> None:
    if code:
        raise Failed(f"a child ended by itself with {code}")


class Trial:
    """Kills runs and exports, and keeps count."""

    def __init__(self, folder: Path, seed: int, draws: bool) -> None:
        if not draws:
            for name in DRAWN:
                setattr(running, name, lambda *_: {})
        self.folder, self.chance, self.board = folder, random.Random(seed), Board()
        self.log, self.reference = folder / "output.txt", folder / "reference"
        self.hits: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.runs = self.exports = 0
        began = time.monotonic()
        self.finish(partial(self.train, self.reference))
        self.usual = time.monotonic() - began

    def train(self, output: Path) -> None:
        training.train_experiment(configure(output), resume=True)

    def export(self, form: Any, output: Path) -> None:
        job.export_run(ExportRequest(str(self.reference / NAME), form, output=output, card=True, force=True))

    def finish(self, work: Callable[[], object]) -> None:
        """To the end, with nobody in the way."""
        child = start(work, self.board, self.log)
        refuse_failure(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    def strike(self, work: Callable[[], object], usual: float, phases: Iterable[str]) -> bool:
        """Whether it died."""
        phase = kill(start(work, self.board, self.log), self.board, self.chance, usual, phases)
        if phase is not None:
            self.hits[phase] += 1
        return phase is not None

    def run(self, most: int) -> None:
        """One run, killed up to ``most`` times."""
        output, count = self.folder / "run", self.runs
        shutil.rmtree(output, ignore_errors=True)
        self.runs += 1
        work = partial(self.train, output)
        for _ in range(self.chance.randint(1, min(most, MOST_KILLS))):
            if not self.strike(work, self.usual, PHASES[1:-1]):
                break
        self.finish(work)
        teachers = [next((root / "teachers").iterdir()) for root in (output, self.reference)]
        for pair in ((output / NAME, self.reference / NAME), (teachers[0], teachers[1])):
            self.wrong += [f"run {count}: {line}" for line in differences(*pair)]

    def export_once(self) -> None:
        """One export, killed once."""
        form = "onnx" if self.exports % EXPORTS == EXPORTS - 1 else "safetensors"
        self.exports += 1
        output, whole = self.folder / form, self.folder / f"whole-{form}"
        if not whole.exists():
            self.finish(partial(self.export, form, whole))
        shutil.rmtree(output, ignore_errors=True)
        self.strike(partial(self.export, form, output), self.board.seconds("export"), ["export"])
        if output.exists() and contents(output) != contents(whole):
            self.wrong.append(f"export {self.exports}: {output} is half written")
        self.finish(partial(self.export, form, output))
        if contents(output) != contents(whole):
            self.wrong.append(f"export {self.exports}: {output} differs")


def configure(output: Path) -> ExperimentConfig:
    config = ConfigManager.get_config("fine_tuning")
    return with_values(config, merge(SETTINGS, {"output": str(output)}))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--exports", action=argparse.BooleanOptionalAction, default=True, help="kill exports, too")
    parser.add_argument("--draw", action="store_true", help="draw plots, pictures and reports, too")
    parser.add_argument("--folder", type=Path, help="where runs go and stay; a temporary folder by default")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(folder, given.seed, given.draw)
        try:
            while (done := trial.hits.total()) < given.kills and not trial.wrong:
                if given.exports and trial.hits["export"] * EXPORTS < done:
                    trial.export_once()
                else:
                    trial.run(given.kills - done)
                tell(trial, given.kills)
        except Failed as error:
            trial.wrong.append(f"{error}:\n{trial.log.read_text()}")
    print(f"{trial.hits.total()} kills in {trial.runs} runs and {trial.exports} exports")
    for phase in PHASES:
        print(f"  {phase:<8} {trial.hits[phase]}")
    print("\n".join(trial.wrong) or "every run ended with the same bits, without a gap and without a double")
    return 1 if trial.wrong else 0


def tell(trial: Trial, kills: int) -> None:
    print(f"{trial.hits.total()} of {kills}: {dict(trial.hits)}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
