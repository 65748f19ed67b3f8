"""What all benchmarks share: who takes turns with whom, what machine it was, and how results are shown and kept.

Nothing here imports torch: a script that only starts contenders stays small and leaves the processor to them.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "timm": "timm",
    "smp": "segmentation-models-pytorch",
    "lightning": "lightning",
    "lightning_fabric": "lightning-fabric",
    "onnxruntime": "onnxruntime",
    "pillow": "pillow",
    "numpy": "numpy",
    "snowmelt": "snowmelt",
}
"""Name in the result -> distribution whose version is meant."""

FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
"""What a processor may or may not have, and what decides how fast bf16 is on it."""


# ---------------------------------------------------------------------------------------------- taking turns


def alternate(turns: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each contender's turn gave, round by round; contenders alternate and the first place rotates.

    One more round comes first, in which everything warms up; its values are dropped.

    Args:
        turns: a contender's name -> runs one turn of it and gives what was measured (images per second, seconds).
        rounds: how many rounds count.
    """
    names = list(turns)
    values: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds + 1):
        for place in range(len(names)):
            name = names[(round_ + place) % len(names)]
            value = turns[name]()
            if round_ > 0:
                values[name].append(value)
    return values


def medians(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each contender's rounds."""
    return {name: statistics.median(rounds) for name, rounds in values.items()}


class Ratio(NamedTuple):
    """A quotient of two contenders, formed round by round."""

    median: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.lowest:.3f} to {self.highest:.3f})"


def ratio(over: Sequence[float], under: Sequence[float]) -> Ratio:
    """``over / under`` by rounds: both sides of each quotient were measured close to each other in time."""
    quotients = [a / b for a, b in zip(over, under, strict=True)]
    return Ratio(statistics.median(quotients), min(quotients), max(quotients))


def ratios(values: Mapping[str, Sequence[float]], to: str) -> dict[str, Ratio]:
    """Each contender's :func:`ratio` to the contender ``to``."""
    return {name: ratio(rounds, values[to]) for name, rounds in values.items()}


# ---------------------------------------------------------------------------------------------- the machine


def machine() -> dict[str, Any]:
    """Processor, memory, system, accelerators and versions: what a figure is worth nothing without."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": _processor(),
        "cores": _cores(),
        "threads": os.cpu_count(),
        "usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in _cpuinfo("flags").split()],
        "memory_gib": _memory_gib(),
        "accelerators": _accelerators(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: _version(distribution) for name, distribution in PACKAGES.items()},
        "commit": _commit(),
    }


def describe(found: Mapping[str, Any]) -> str:
    """A :func:`machine` in two lines."""
    hardware = [f"{found['processor']}", f"{found['usable']} of {found['threads']} threads"]
    hardware += [f"{found['memory_gib']} GiB", *found["flags"], *found["accelerators"]]
    packages = [f"{name} {found[name]}" for name in ("python", *PACKAGES) if found[name]]
    return f"{', '.join(hardware)}\n{', '.join(packages)}"


def _cpuinfo(key: str) -> str:
    """The first value of ``key`` in /proc/cpuinfo; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key), ""
    )


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cores() -> int | None:
    """Physical cores, where Linux tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    fields = [line.partition(":") for line in lines]
    sockets = [value.strip() for name, _, value in fields if name.strip() == "physical id"]
    cores = [value.strip() for name, _, value in fields if name.strip() == "core id"]
    return len(set(zip(sockets, cores, strict=False))) or None


def _memory_gib() -> float | None:
    """Memory of the machine, or of this container where that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return round(total / 2**30, 1)


def _accelerators() -> list[str]:
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return [line.strip() for line in answer.stdout.splitlines()] if answer.returncode == 0 else []


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The code that was measured, with a plus where files differ from it."""
    here = Path(__file__).parent
    try:
        shown = subprocess.run(["git", "describe", "--always", "--dirty=+"], cwd=here, capture_output=True, text=True)
    except OSError:
        return None
    return shown.stdout.strip() or None


# ---------------------------------------------------------------------------------------------- results


def write_json(path: Path | str, result: Mapping[str, Any]) -> None:
    """Keep a result: ``result`` and, under ``machine``, where it was measured unless it says so itself."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps({"machine": machine(), **result}, indent=1, default=str) + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in plain text: the first column to the left, all others to the right; floats with three digits."""
    cells = [[str(header) for header in headers], *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headers))]
    lines = [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def _cell(value: Any) -> str:
    """Three digits that count, and no exponent: 0.00123, 1.23, 123, 123456."""
    if value is None:
        return "-"
    if not isinstance(value, float) or isinstance(value, Ratio):
        return str(value)
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3g}"
    )
