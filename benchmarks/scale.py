"""What does it cost to train on many images? GPU hours, storage and network, computed from measured figures.

    python benchmarks/scale.py                                        the table of docs/scale.md
    python benchmarks/scale.py --images-per-second 420 --gpus 16      with figures of your own machine
    python benchmarks/scale.py --weigh                                measures the bytes in memory for each image

Nothing is trained here. Every figure that goes in stands in the output with where it is from: measured (by which
script of this folder), computed (from what), or assumed. Replace what is assumed by what you measure.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import table, write_json

SETS = {"COCO-person": 64_000, "1 M images": 1_000_000, "100 M images": 100_000_000}
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True)
class Figure:
    """One number that goes in."""

    value: float
    unit: str
    source: str


FIGURES = {
    "epochs": Figure(100, "epochs", "the question"),
    "gpus": Figure(8, "GPUs in a machine", "assumed"),
    "machines": Figure(1, "machines", "assumed"),
    "batch": Figure(16, "images a GPU and step", "assumed"),
    "student_gflop": Figure(
        37.0, "GFLOP, student forward", "computed: operations of a UNet with B0 at 640 px, torch's counter"
    ),
    "teacher_gflop": Figure(47.7, "GFLOP, teacher forward", "computed: the same with B3"),
    "peak_tflops": Figure(312, "TFLOP/s of a GPU in bf16", "assumed: an A100's data sheet"),
    "reached": Figure(0.10, "of that is reached", "assumed: networks of depthwise convolutions are far from the peak"),
    "file_bytes": Figure(163_000, "bytes of a picture's file", "computed: COCO 2017, 19.3 GB in 118,287 files"),
    "stored_bytes": Figure(1_228_800, "bytes in the image store", "computed: 640 x 480 pixels of 3 + 1 bytes"),
    "answer_bytes": Figure(102_408, "bytes of a cached answer", "computed: one channel, uint8, stride 2, 640 px"),
    "gradient_bytes": Figure(23_357_236, "bytes of gradients a step", "measured: scaling.py, B0, everything thawed"),
    "frozen_gradient_bytes": Figure(8_975_684, "the same, encoder frozen", "measured: scaling.py, B0, 0 blocks thawed"),
    "memory_bytes": Figure(891, "bytes a process holds for an image", "measured: scale.py --weigh"),
    "read_ms": Figure(3.6, "ms of a core to decode an image", "measured: pipeline.py, polygons at 640 px, loader"),
    "store_ms": Figure(1.3, "ms of a core, from the store", "measured: pipeline.py, store at 640 px, loader"),
    "fill_threads": Figure(8, "threads that fill the store", "what one process uses (data/store_fill.py)"),
    "disk_tb": Figure(8, "TB on a machine's disks", "assumed"),
    "machine_gb": Figure(1000, "GB of memory in a machine", "assumed"),
    "network_gbit": Figure(25, "Gbit/s between machines", "assumed"),
    "patience_hours": Figure(12, "hours until the first step at most", "assumed"),
}


@dataclass(frozen=True)
class Costs:
    """Everything that is computed, from the figures by name."""

    figures: dict[str, float]

    def __getattr__(self, name: str) -> float:
        try:
            return self.figures[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def student_speed(self) -> float:
        """Images per second that a GPU trains on; backward is taken for two forward passes."""
        given = self.figures.get("images_per_second")
        return given or self.peak_tflops * self.reached * 1000 / (3 * self.student_gflop)

    @property
    def teacher_speed(self) -> float:
        """Images per second that a GPU asks the teacher about."""
        given = self.figures.get("teacher_images_per_second")
        return given or self.peak_tflops * self.reached * 1000 / self.teacher_gflop

    @property
    def all_gpus(self) -> float:
        return self.gpus * self.machines

    def training_hours(self, images: int) -> float:
        """GPU hours of all epochs, the teacher's answers stored."""
        return images * self.epochs / self.student_speed / HOUR

    def pass_hours(self, images: int) -> float:
        """GPU hours of asking the teacher once about every image."""
        return images / self.teacher_speed / HOUR

    def live_hours(self, images: int) -> float:
        """GPU hours of all epochs with the teacher asked at every step."""
        return self.training_hours(images) + self.epochs * self.pass_hours(images)

    def days(self, images: int) -> float:
        return (self.training_hours(images) + self.pass_hours(images)) / self.all_gpus * HOUR / DAY

    def fill_hours(self, images: int) -> float:
        """Hours in which one process decodes every image once."""
        return images * self.read_ms / 1000 / self.fill_threads / HOUR

    def exchanged(self, gradient_bytes: float, processes: float) -> float:
        """Gbit/s that a machine sends, where gradients go round in a ring as NCCL sends them."""
        share = 2 * (processes - 1) / processes
        return gradient_bytes * share * self.student_speed / self.batch * 8 / 1e9

    def read(self, bytes_per_image: float) -> float:
        """Gbit/s that the GPUs of one machine read together."""
        return bytes_per_image * self.student_speed * self.gpus * 8 / 1e9

    def limits(self) -> list[tuple[str, str, float]]:
        """What ends first: the thing, its budget, and the number of images at which it is used up."""
        machine = self.machine_gb * 1e9
        return [
            (
                "the image store in a machine's memory",
                f"half of {self.machine_gb:,.0f} GB",
                machine / 2 / self.stored_bytes,
            ),
            (
                "the image store on a machine's disks",
                f"{self.disk_tb:,.0f} TB",
                self.disk_tb * 1e12 / self.stored_bytes,
            ),
            (
                "files and answers on a machine's disks",
                f"{self.disk_tb:,.0f} TB",
                self.disk_tb * 1e12 / (self.file_bytes + self.answer_bytes),
            ),
            (
                "lists of all images in every process",
                f"a quarter of {self.machine_gb:,.0f} GB, {self.gpus:.0f} processes",
                machine / 4 / self.gpus / self.memory_bytes,
            ),
            (
                "one process that decodes every image once",
                f"{self.patience_hours:.0f} h, {self.fill_threads:.0f} threads",
                self.patience_hours / self.fill_hours(1),
            ),
        ]


def main() -> None:
    arguments = parse()
    if arguments.weigh:
        print(table(["bytes in memory for an image", "bytes"], weigh(arguments.weigh_images)))
        return
    given = {name: value for name, value in vars(arguments).items() if name in FIGURES or name.endswith("_second")}
    costs = Costs({name: value for name, value in given.items() if value is not None})
    print(report(costs))
    if arguments.json:
        write_json(
            arguments.json, {"figures": costs.figures, "sets": {name: row(costs, n) for name, n in SETS.items()}}
        )


def report(costs: Costs) -> str:
    """All tables, as docs/scale.md shows them."""
    parts = [
        ("What goes in", inputs(costs)),
        (f"GPU hours of {costs.epochs:.0f} epochs at 640 px", gpu_hours(costs)),
        ("Storage", storage(costs)),
        (f"Network of a machine with {costs.gpus:.0f} GPUs, while it trains", network(costs)),
        ("Before the first step, and in memory", opening(costs)),
        ("Where the limit is", limits(costs)),
    ]
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts)


def inputs(costs: Costs) -> str:
    """Every figure with its source; one that was given says so."""
    rows = []
    for name, figure in FIGURES.items():
        value = costs.figures[name]
        source = figure.source if value == figure.value else "given"
        rows.append([f"{name.replace('_', '-')}, {figure.unit}", amount(value), source])
    speeds = {"images_per_second": costs.student_speed, "teacher_images_per_second": costs.teacher_speed}
    for name, value in speeds.items():
        source = "given" if costs.figures.get(name) else "computed: from the operations and what is reached"
        rows.append([f"{name.replace('_', '-')}, images/s of a GPU", amount(value), source])
    width = max(len(each[0]) for each in rows)
    return "\n".join(f"{what:{width}}  {value:>12}  {source}" for what, value, source in rows)


def gpu_hours(costs: Costs) -> str:
    rows = [
        [
            name,
            amount(costs.training_hours(images)),
            amount(costs.training_hours(images) / costs.epochs),
            amount(costs.pass_hours(images)),
            amount(costs.live_hours(images)),
            amount(costs.days(images)),
        ]
        for name, images in SETS.items()
    ]
    heads = ["", "cached teacher", "of it an epoch", "teacher's pass", "live teacher instead"]
    return table([*heads, f"days on {costs.all_gpus:.0f} GPUs, cached"], rows)


def storage(costs: Costs) -> str:
    kinds = ("file_bytes", "stored_bytes", "answer_bytes")
    rows = [[name, *(size(images * costs.figures[kind]) for kind in kinds)] for name, images in SETS.items()]
    return table(["", "pictures' files", "image store", "teacher's answers"], rows)


def network(costs: Costs) -> str:
    two = max(2.0, costs.machines)
    ring = two * costs.gpus
    rows = [
        ["gradients to other machines, everything thawed", costs.exchanged(costs.gradient_bytes, ring)],
        ["gradients to other machines, encoder frozen", costs.exchanged(costs.frozen_gradient_bytes, ring)],
        ["pictures from files elsewhere", costs.read(costs.file_bytes)],
        ["pictures from an image store elsewhere", costs.read(costs.stored_bytes)],
        ["teacher's answers from a cache elsewhere", costs.read(costs.answer_bytes)],
    ]
    texts = [[what, f"{gbit:.2f}", f"{100 * gbit / costs.network_gbit:.0f} %"] for what, gbit in rows]
    cores = [costs.student_speed * each / 1000 for each in (costs.read_ms, costs.store_ms)]
    text = table(["", "Gbit/s", f"of {costs.network_gbit:.0f} Gbit/s"], texts)
    return f"{text}\n\nCores that keep one GPU busy: {cores[0]:.1f} from files, {cores[1]:.1f} from an image store"


def opening(costs: Costs) -> str:
    rows = [
        [name, f"{costs.fill_hours(images):,.2f} h", size(images * costs.memory_bytes)] for name, images in SETS.items()
    ]
    return table(["", "one process reads every image", "lists in each process"], rows)


def limits(costs: Costs) -> str:
    rows = [[what, budget, f"{count / 1e6:,.1f} M"] for what, budget, count in sorted(costs.limits(), key=last)]
    return table(["", "what there is", "enough for images"], rows)


def last(values: Sequence[Any]) -> Any:
    return values[-1]


def row(costs: Costs, images: int) -> dict[str, float]:
    """One set's costs, for JSON."""
    return {
        "images": images,
        "gpu_hours": costs.training_hours(images),
        "pass_hours": costs.pass_hours(images),
        "live_hours": costs.live_hours(images),
        "stored_bytes": images * costs.stored_bytes,
        "answer_bytes": images * costs.answer_bytes,
        "fill_hours": costs.fill_hours(images),
        "memory_bytes": images * costs.memory_bytes,
    }


def amount(value: float) -> str:
    """Three digits that count, thousands apart."""
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def size(count: float) -> str:
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if count >= 10**power:
            return f"{count / 10**power:,.1f} {unit}"
    return f"{count:,.0f} bytes"


def weigh(images: int) -> list[list[Any]]:
    """What a process holds for each image of a data set, in bytes: the things themselves, filled and opened anew."""
    import numpy as np

    from snowmelt.data import ImageStore, Working, epoch_order
    from snowmelt.teachers.cache import open_cache
    from snowmelt.teachers.cache.encoding import Encoding

    found: list[list[Any]] = []

    def kept(what: str, make: Callable[[], Any], peak: bool = False) -> Any:
        tracemalloc.start()
        thing = make()
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found.append([what, (most if peak else now) / images])
        return thing

    kept("order of an epoch", lambda: epoch_order(images, 0, 0), peak=True)
    keys = kept("content keys", lambda: [f"{number:032x}" for number in range(images)])
    picture = Working(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), (480, 640))
    encoding = Encoding("uint8", 1, None, 1, 1)
    line = np.zeros(encoding.row_bytes, np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        store, cache = ImageStore(Path(folder), 960, False, print), open_cache(Path(folder), "0" * 32, encoding)
        for first in range(0, images, 1000):
            part = keys[first : first + 1000]
            store.write(dict.fromkeys(part, picture))
            cache.write(part, [line] * len(part))
        store = kept("image store, opened", lambda: ImageStore(Path(folder), 960, False, print))
        kept("image store, view", lambda: store.view(keys))
        cache = kept("teacher cache, opened", lambda: open_cache(Path(folder), "0" * 32, encoding))
        kept("teacher cache, view", lambda: cache.view(keys))
    return [*found, ["all of it", sum(value for _, value in found)]]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, figure in FIGURES.items():
        text = f"{figure.unit} ({figure.value:g}; {figure.source})".replace("%", "%%")
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=figure.value, metavar="N", help=text)
    measured = "as it was measured, in place of operations and what is reached"
    parser.add_argument("--images-per-second", type=float, metavar="N", help=f"of training on a GPU, {measured}")
    parser.add_argument("--teacher-images-per-second", type=float, metavar="N", help=f"of the teacher, {measured}")
    parser.add_argument("--weigh", action="store_true", help="measure the bytes in memory for each image, and end")
    parser.add_argument("--weigh-images", type=int, default=200_000, metavar="N", help="(200000)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures and the costs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
