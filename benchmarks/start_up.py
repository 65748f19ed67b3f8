"""How long until something happens? Wall and processor seconds of the commands, and what part of them are imports.

    python benchmarks/start_up.py
    python benchmarks/start_up.py --repeats 9 --json start_up.json

Each figure is the median over child processes of their own; the commands take turns. Imports are measured in one more
child of each, by Python's own clock (`-X importtime`: the sum of what every module takes by itself); their share is of
the wall time of that child, which the clock slows down a little.

    python          an interpreter that does nothing
    run starts      `snowmelt train` until the loop begins: imports, data, network
    first step      the same until the first optimizer step is done; embedded scenes of 128 pixels, B0, batch 4
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common import describe, machine, table, write_json

SNOWMELT = "import sys; sys.argv[0] = 'snowmelt'; from snowmelt.cli.app import main; main()"
TRAIN = ["plain", "--data", "scenes:16", "--set", "student.weights=none"]
STARTS, STEPS = "RunStarted", "StepEnded"  # events of the loop at which a training run is ended


class Cost(NamedTuple):
    """Seconds that a child process took."""

    wall: float
    cpu: float


def commands(name: str, output: str) -> dict[str, list[str]]:
    """What is measured, as arguments of the interpreter."""
    here = str(Path(__file__).resolve())
    return {
        "python": ["-c", ""],
        "snowmelt --version": ["-c", SNOWMELT, "--version"],
        "snowmelt --help": ["-c", SNOWMELT, "--help"],
        "snowmelt configs": ["-c", SNOWMELT, "configs"],
        f"snowmelt plan {name}": ["-c", SNOWMELT, "plan", name],
        "snowmelt train, run starts": [here, "--until", STARTS, "--output", output],
        "snowmelt train, first step": [here, "--until", STEPS, "--output", output],
    }


def main() -> None:
    arguments = parse()
    if arguments.until:
        train_until(arguments.until, arguments.output)
        return
    found = machine()
    with tempfile.TemporaryDirectory() as folder:
        wanted = commands(arguments.plan, folder)
        costs = measure(wanted, arguments.repeats, Path(folder))
        shares = {name: import_share(command, Path(folder)) for name, command in wanted.items()}
    result = {name: {**summarise(children), "imports": shares[name]} for name, children in costs.items()}
    print(f"{describe(found)}\n\nMedians of {arguments.repeats} processes\n\n{show(result)}")
    if arguments.json:
        rounds = {name: [each._asdict() for each in children] for name, children in costs.items()}
        settings = {"repeats": arguments.repeats, "plan": arguments.plan}
        write_json(arguments.json, {"machine": found, "settings": settings, "seconds": result, "rounds": rounds})


def measure(wanted: dict[str, list[str]], repeats: int, folder: Path) -> dict[str, list[Cost]]:
    """The cost of every command by turn; one more turn comes first, to warm the files, and is dropped."""
    costs: dict[str, list[Cost]] = {name: [] for name in wanted}
    for turn in range(repeats + 1):
        for name, command in wanted.items():
            cost = run([sys.executable, *command], folder)
            if turn > 0:
                costs[name].append(cost)
    return costs


def import_share(command: Sequence[str], folder: Path) -> float:
    """What part of a command's wall time are imports."""
    cost = run([sys.executable, "-X", "importtime", *command], folder)
    lines = (folder / "stderr").read_text().splitlines()
    clocked = [line.removeprefix("import time:") for line in lines if line.startswith("import time:")]
    own = [line.split("|")[0] for line in clocked if "[us]" not in line]  # the first line is a heading
    return sum(map(int, own)) / 1e6 / cost.wall


def run(command: Sequence[str], folder: Path) -> Cost:
    """Run a child to its end; what it says lies in ``folder``."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    with (folder / "stdout").open("w") as out, (folder / "stderr").open("w") as errors:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, env=environment)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)  # it was waited for behind the object's back
    if child.returncode != 0:
        said = "\n".join((folder / "stderr").read_text().splitlines()[-15:])
        raise SystemExit(f"{said}\n\n{' '.join(command)} failed")
    return Cost(wall, usage.ru_utime + usage.ru_stime)


def summarise(children: Sequence[Cost]) -> dict[str, float]:
    """Medians, and the fastest."""
    return {
        "wall": statistics.median(each.wall for each in children),
        "cpu": statistics.median(each.cpu for each in children),
        "fastest": min(each.wall for each in children),
    }


def show(result: dict[str, dict[str, float]]) -> str:
    rows = [
        [name, cost["wall"], cost["fastest"], cost["cpu"], f"{100 * cost['imports']:.0f} %"]
        for name, cost in result.items()
    ]
    return table(["", "wall s", "fastest", "CPU s", "of it imports"], rows)


def train_until(event: str, output: str) -> None:
    """The child's part: ``snowmelt train``, which ends as soon as the loop tells of such an event."""
    from snowmelt.cli.app import app, suit_the_processor

    suit_the_processor()
    from snowmelt.jobs import running
    from snowmelt.training import Announcer, Listener

    class End(Listener):
        def receive(self, told: Any) -> None:
            if type(told).__name__ == event:
                sys.stdout.flush()
                os._exit(0)  # at once: nothing that comes after is to be measured

    running.Announcer = lambda listeners, **options: Announcer([*listeners, End()], **options)  # type: ignore[attr-defined]
    app(["train", *TRAIN, "--set", f"output={output}", "--overwrite"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", default="unscheduled", metavar="NAME", help="experiment whose plan is shown")
    parser.add_argument("--repeats", type=int, default=5, help="processes for each figure (5)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    parser.add_argument("--until", choices=(STARTS, STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--output", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
