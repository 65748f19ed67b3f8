"""Does memory stay flat? The size of a training process over thousands of epochs, and the slope of its second half.

    python benchmarks/reliability/flat_memory.py
    python benchmarks/reliability/flat_memory.py --epochs 400 --workers 2 --json flat_memory.json

A real `snowmelt train` of tiny networks on embedded scenes, with a teacher that is trained first, every listener and a
checkpoint each epoch, in a process of its own that knows nothing of this. From outside it is looked at whenever its
metrics.csv has another epoch: memory that no file stands behind, in RAM or swapped out (a busy system takes pages of
files back whenever it likes), open files and threads of the process and of all its children, and what lies in
/dev/shm. Linux only. Exits with 1 where memory rises by more than --bound, or anything else that is counted by more
than COUNTS over the second half.

    slope           bytes an epoch, by least squares over the second half of the epochs, in which nothing thaws
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))
from common import describe, machine, table, write_json

SNOWMELT = "import sys; sys.argv[0] = 'snowmelt'; from snowmelt.cli.app import main; main()"
ENCODER = "tu-mobilenetv3_small_050"
COUNTS = 1.0  # files, threads and shared files that may be there more at the end of the second half than at its head
PAUSE = 0.05  # seconds between two looks at metrics.csv
MEMORY = ("RssAnon:", "VmSwap:")  # of /proc/PID/status, in KiB


class Seen(NamedTuple):
    """What was there after an epoch: ``memory`` and ``shared`` in bytes, all else counted."""

    epoch: int
    memory: int
    files: int
    threads: int
    processes: int
    shared: int


def main() -> int:
    arguments = parse()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        seen = watch(command(arguments, folder), Path(folder, "flat", "metrics.csv"))
        seconds = time.monotonic() - began
    found = verdict(seen, arguments.bound)
    print(f"{describe(machine())}\n\n{len(seen)} looks at {arguments.epochs} epochs in {seconds:.0f} s\n")
    print(show(seen, arguments.epochs))
    print(f"\nmemory rises by {found['memory']:.0f} bytes an epoch in the second half; the bound is {arguments.bound}")
    if arguments.json:
        given = {key: value for key, value in vars(arguments).items() if key != "json"}
        write_json(arguments.json, {"settings": given, "slopes": found, "seen": [each._asdict() for each in seen]})
    for name in found["above"]:
        print(f"not flat: {name}")
    return 1 if found["above"] else 0


def command(arguments: argparse.Namespace, folder: str) -> list[str]:
    """A training run that has everything a real one has, and is as small as it can be."""
    settings = {
        "output": folder,
        "data.image_size": arguments.size,
        "data.workers": arguments.workers,
        "student.encoder": ENCODER,
        "student.weights": "none",
        "student.decoder_channels": "[16, 8, 8, 8, 8]",
        "teacher.network.encoder": ENCODER,
        "teacher.network.weights": "none",
        "teacher.epochs": 1,
        "teacher.mode": arguments.teacher,
        "thaw.start": 1,
        "thaw.every": 1,
        "training.calibration_batches": 1,
        "training.average": 0.9,
        "training.log_every": 1,
        "training.threads": 1,
        "reactions.thaw_guard": "true",
        "reactions.block_warmup": 1.0,
    }
    flags = {"--run-name": "flat", "--epochs": arguments.epochs, "--data": f"scenes:{arguments.images}"}
    flags |= {"--batch-size": 2, "--device": "cpu", "--precision": "32"}
    given = [str(part) for pair in flags.items() for part in pair]
    given += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return [
        sys.executable,
        "-c",
        SNOWMELT,
        "train",
        "rgb_hierarchical_unet_v2_distillation_b0_from_b3_temp_prog",
        *given,
    ]


def watch(wanted: Sequence[str], rows: Path) -> list[Seen]:
    """Run a command to its end, and look at it after every epoch that ``rows`` gets a line for."""
    seen: list[Seen] = []
    with tempfile.TemporaryFile() as said, subprocess.Popen(wanted, stdout=said, stderr=subprocess.STDOUT) as child:
        try:
            while child.poll() is None:
                time.sleep(PAUSE)
                epoch = rows.read_bytes().count(b"\n") - 2 if rows.exists() else -1
                if epoch >= 0 and (not seen or seen[-1].epoch < epoch):
                    seen += look(child.pid, epoch)
        finally:
            child.kill()
        if child.returncode != 0:
            said.seek(0)
            raise SystemExit(f"the run ended with {child.returncode}:\n{said.read().decode()[-3000:]}")
    return seen


def look(pid: int, epoch: int) -> list[Seen]:
    """A process and its children as they are now; nothing where it has just ended."""
    try:
        family = [pid, *children_of(pid)]
        memory = sum(map(memory_of, family))
        files = sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in family)
        threads = sum(len(list(Path(f"/proc/{each}/task").iterdir())) for each in family)
        return [Seen(epoch, memory, files, threads, len(family), shared_by(family))]
    except (OSError, IndexError):
        return []


def memory_of(pid: int) -> int:
    """Bytes of a process that no file stands behind."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith(MEMORY))


def children_of(pid: int) -> Iterator[int]:
    """The processes that a process has started, and theirs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from children_of(int(child))


def shared_by(family: Sequence[int]) -> int:
    """Bytes of the files in /dev/shm that any of the processes has mapped, the removed ones too."""
    sizes: dict[str, int] = {}
    for pid in family:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if "/dev/shm/" in line:
                start, _, rest = line.partition("-")
                sizes[line.split()[4]] = int(rest.split()[0], 16) - int(start, 16)
    return sum(sizes.values())


def verdict(seen: Sequence[Seen], bound: float) -> dict[str, Any]:
    """Slopes an epoch over the second half, and in words what is above its bound."""
    half = [each for each in seen if each.epoch >= seen[-1].epoch / 2]
    if len(half) < 3:
        raise SystemExit("too few epochs were seen; give more --epochs")
    epochs = [float(each.epoch) for each in half]
    found: dict[str, Any] = {
        name: slope(epochs, [float(getattr(each, name)) for each in half]) for name in Seen._fields[1:]
    }
    above = [f"memory, {found['memory']:.0f} bytes an epoch"] if found["memory"] > bound else []
    length = epochs[-1] - epochs[0]
    for name in ("files", "threads", "processes"):
        if found[name] * length > COUNTS:
            above.append(f"{name}, {found[name] * length:.1f} more at the end of the second half than at its head")
    if found["shared"] > bound:
        above.append(f"shared memory, {found['shared']:.0f} bytes an epoch")
    return {**found, "above": above}


def slope(places: Sequence[float], values: Sequence[float]) -> float:
    """By least squares."""
    middle, mean = sum(places) / len(places), sum(values) / len(values)
    over = sum((place - middle) * (value - mean) for place, value in zip(places, values, strict=True))
    return over / sum((place - middle) ** 2 for place in places)


def show(seen: Sequence[Seen], epochs: int) -> str:
    """About ten of the looks."""
    every = max(1, epochs // 10)
    shown: Mapping[int, Seen] = {each.epoch // every: each for each in reversed(seen)} | {epochs: seen[-1]}
    rows = [
        (
            each.epoch,
            f"{each.memory / 2**20:.1f}",
            each.files,
            each.threads,
            each.processes,
            f"{each.shared / 2**20:.1f}",
        )
        for each in sorted(set(shown.values()))
    ]
    return table(["epoch", "MiB", "files", "threads", "processes", "shared MiB"], rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2000)
    parser.add_argument("--images", type=int, default=4, help="scenes; a part of them validates")
    parser.add_argument("--size", type=int, default=32, help="pixels")
    parser.add_argument("--workers", type=int, default=0, help="loading processes; 0: a thread")
    parser.add_argument("--teacher", default="live", choices=["live", "cached"])
    parser.add_argument("--bound", type=float, default=1024, help="bytes an epoch that memory may rise by")
    parser.add_argument("--json", type=Path, help="write all looks there, too")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
