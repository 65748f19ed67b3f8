"""Runs every benchmark and gathers what they found: JSON files, their tables, and one table of what was run.

    python benchmarks/run_all.py                    everything as it is reported; hours on two cores
    python benchmarks/run_all.py --quick            tiny and short: shows that all scripts run; the figures say nothing
    python benchmarks/run_all.py --only training stages --out results

A folder is filled: NAME.json and NAME.txt for each benchmark, and tables.txt with all of them. A benchmark that is
there already is left out, so a series that was cut goes on; --again measures it anew.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from common import machine, table

HERE = Path(__file__).resolve().parent
TINY = ["--pair", "tu-mobilenetv3_small_050:tu-mobilenetv3_small_050", "--size", "64", "--batch", "2"]
ONCE = ["--rounds", "1", "--steps", "2"]
SIZES = ("--pair", "--size", "--batch", "--images", "--rounds", "--steps")
SCHEDULE = ["--teacher", "cached", "--schedule", "--rounds", "5", "--steps", "8"]


class Benchmark(NamedTuple):
    """A script with arguments; ``quick`` ones replace them."""

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    needs_gpu: bool = False

    def command(self, quick: bool, json_file: Path) -> list[str]:
        chosen = self.quick if quick else self.arguments
        return [sys.executable, str(HERE / self.script), *chosen, "--json", str(json_file)]


def training(name: str, *arguments: str, needs_gpu: bool = False) -> Benchmark:
    """A benchmark of ``training_speed.py``; in a quick run sizes shrink, and all else stays."""
    kept = list(arguments)
    for option in SIZES:
        if option in kept:
            position = kept.index(option)
            del kept[position : position + 2]
    return Benchmark(name, "training_speed.py", arguments, (*TINY, *ONCE, "--images", "20", *kept), needs_gpu)


BENCHMARKS = (
    training("training-b3-b0"),
    training("training-b3-b0-batch16", "--batch", "16", "--images", "640"),
    training("training-b3-b0-parts", "--classes", "7"),
    training("training-b4-mobilenetv2", "--pair", "b4-mobilenetv2"),
    training("training-b4-mobilenetv2-batch16", "--pair", "b4-mobilenetv2", "--batch", "16", "--images", "640"),
    training("schedule-b3-b0", *SCHEDULE),
    training("schedule-b4-mobilenetv2", *SCHEDULE, "--pair", "b4-mobilenetv2"),
    training("training-b3-b0-640px", "--size", "640", "--batch", "16", "--images", "1280", needs_gpu=True),
    training("schedule-b3-b0-640px", *SCHEDULE, "--size", "640", "--batch", "16", "--images", "1280", needs_gpu=True),
    training("plain-and-cached", "--teacher", "cached", "--contenders", "plain", "cached", "live"),
    Benchmark("stages", "stages.py", (), (*TINY, *ONCE, "--thawed", "0")),
    Benchmark("overhead", "overhead.py", (), (*TINY, "--images", "20", "--epochs", "1")),
    Benchmark("pipeline", "pipeline.py", (), ("--sizes", "64", "--images", "6", "--turn", "4", "--rounds", "1")),
    Benchmark("scaling", "scaling.py", (), (*TINY, *ONCE, "--images", "20")),
    Benchmark("growth", "growth.py", (), ("--images", "20", "40")),
    Benchmark("step-growth", "step_growth.py", (), (*TINY[:2], "--sizes", "64", "--batches", "2", *ONCE)),
    Benchmark("start-up", "start_up.py", (), ("--repeats", "1")),
    Benchmark("scale", "scale.py"),
)


def main() -> None:
    arguments = parse()
    chosen = [benchmark for benchmark in BENCHMARKS if wanted(benchmark, arguments.only)]
    if not chosen:
        sys.exit(f"--only: nothing of that name; there are {', '.join(each.name for each in BENCHMARKS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for benchmark, state, seconds in run(chosen, arguments):
        rows.append([benchmark.name, benchmark.script, state, f"{seconds / 60:.1f}"])
    tables = [arguments.out / f"{benchmark.name}.txt" for benchmark in chosen]
    texts = [f"== {path.stem}\n\n{path.read_text()}" for path in tables if path.exists()]
    (arguments.out / "tables.txt").write_text("\n".join(texts))
    print(f"\n{table(['benchmark', 'script', 'outcome', 'minutes'], rows)}\n\nJSON files and tables: {arguments.out}")
    if any(row[2] == "failed" for row in rows):
        sys.exit(1)


def run(chosen: list[Benchmark], arguments: argparse.Namespace) -> Iterator[tuple[Benchmark, str, float]]:
    """Each benchmark, how it ended, and seconds; one after the other, as they share the processor."""
    found = machine()
    for benchmark in chosen:
        json_file, text_file = (arguments.out / f"{benchmark.name}.{suffix}" for suffix in ("json", "txt"))
        if not (HERE / benchmark.script).exists():
            yield benchmark, "not here", 0.0
            continue
        if benchmark.needs_gpu and not (arguments.quick or found["accelerators"]):
            yield benchmark, "no GPU", 0.0
            continue
        if json_file.exists() and not arguments.again:
            yield benchmark, "there already", 0.0
            continue
        command = benchmark.command(arguments.quick, json_file)
        print(f"\n== {benchmark.name}: {' '.join(command[1:])}", flush=True)
        start = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout, flush=True)
        if done.returncode == 0:
            text_file.write_text(done.stdout)
        yield benchmark, "done" if done.returncode == 0 else "failed", time.monotonic() - start


def wanted(benchmark: Benchmark, only: list[str] | None) -> bool:
    """Whether one of the words begins its name."""
    return only is None or any(benchmark.name.startswith(word) for word in only)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny and short; shows that everything runs")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="those whose names begin so")
    parser.add_argument("--again", action="store_true", help="also what the folder has already")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder (benchmark-results)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
