"""How do start-up time and memory grow with the data? Sets of 1 k to 120 k pictures, opened first and again.

    python benchmarks/growth.py                                       1000, 10000 and 120000 pictures
    python benchmarks/growth.py --images 120000 --json growth.json
    python benchmarks/growth.py --images 1000 --folder /tmp/growth    keeps what it makes, for another time

The COCO file has 7.17 regions a picture of about as many bytes as COCO's own (120 k pictures: 860 k regions). Pictures
and masks are hard links to a few small files of 640 x 480 pixels, so that a large set costs little disk; what reading
real photographs takes comes on top of the checks' first times.

Each row is a process of its own:

    import           nothing but `import snowmelt.data`, torch and torchvision with it
    open, no index   `open_splits` without a folder for an index
    open, first      with an empty folder: read, index
    open, later      with the index that is there
    check, first     open and look into every file, as a run does when it starts
    check, later     the same once more

`seconds` counts what is named after the import; `process` the whole process with it; `CPU` its processor time, which
says more than either where others use the machine too. `peak` is the most memory that the process ever held, and
`added` how much of it came after the import, which takes most of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from common import describe, machine, table, write_json
from PIL import Image

HEIGHT, WIDTH = 480, 640
REGIONS = 860_000 / 120_000  # of a picture, as in COCO
CATEGORIES = 80
OUTLINES = 2000  # different ones
LINKS = 10_000  # names of one file; file systems allow some 65,000

PHASES = ("open, no index", "open, first", "open, later", "check, first", "check, later")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 10_000, 120_000], help="sizes of the sets")
    parser.add_argument("--sources", nargs="+", choices=("coco", "folder"), default=["coco", "folder"])
    parser.add_argument("--no-check", action="store_true", help="only open, which takes minutes less")
    parser.add_argument("--folder", type=Path, help="make the data here and keep them (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--child", nargs=3, metavar=("SPEC", "INDEX", "CHECK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child)))
        return
    with ExitStack() as stack:
        root = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        rows = [{"images": 0, "source": "", "what": "import", **run_child("", "", "")}]
        for count in options.images:
            for source in options.sources:
                spec = make_coco(root, count) if source == "coco" else make_folder(root, count)
                for phase, figures in phases(spec, root / "index", not options.no_check):
                    rows.append({"images": count, "source": source, "what": phase, **figures})
                    print(rows[-1], file=sys.stderr, flush=True)
    found = machine()
    print(describe(found))
    columns = list(rows[-1])
    print(table(columns, [[row.get(column) for column in columns] for row in rows]))
    if options.json:
        write_json(options.json, {"machine": found, "rows": rows})


def phases(spec: str, index: Path, check: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every phase's figures, in an order in which each finds what it needs."""
    shutil.rmtree(index, ignore_errors=True)
    for phase in PHASES if check else PHASES[:3]:
        kind, state = phase.split(", ")
        yield phase, run_child(spec, "" if state == "no index" else str(index), kind if kind == "check" else "")


def run_child(spec: str, index: str, check: str) -> dict[str, Any]:
    start = time.perf_counter()
    command = [sys.executable, __file__, "--child", spec, index, check]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return {**json.loads(answer.stdout), "process": time.perf_counter() - start}


def measure(spec: str, index: str, check: str) -> dict[str, Any]:
    """Open the data and perhaps check them, in this process."""
    start, cpu = time.perf_counter(), time.process_time()
    from snowmelt.data import open_splits

    imported = peak_memory()
    if spec:
        start, cpu = time.perf_counter(), time.process_time()
        splits = open_splits(spec, index_folder=Path(index) if index else None)
        if check:
            splits.check()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = peak_memory()
    return {"seconds": seconds, "CPU": cpu, "peak MiB": peak / 2**20, "added MiB": (peak - imported) / 2**20}


def peak_memory() -> int:
    """Bytes; where the system tells it, of this program alone and not of the one that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ---------------------------------------------------------------------------------------------- data


def make_coco(root: Path, count: int) -> str:
    """``count`` pictures and their COCO file below ``root``, as a SPEC; what is there already stays."""
    images = link_pictures(root / f"pictures-{count}", count)
    path = root / f"coco-{count}.json"
    if not path.exists():
        aside = path.with_suffix(".part")
        with aside.open("w") as file:
            write_coco(file, count)
        aside.replace(path)
    return f"coco:{images}:{path}"


def make_folder(root: Path, count: int) -> str:
    """``count`` pictures and masks of the labels 0, 1 and 2, as a SPEC."""
    folder = root / f"folder-{count}"
    link_pictures(folder / "images", count)
    labels = np.repeat(np.arange(3, dtype=np.uint8), WIDTH // 3 + 1)[:WIDTH]
    link_many(Image.fromarray(np.tile(labels, (HEIGHT, 1))), folder / "masks", count, ".png")
    return str(folder)


def link_pictures(folder: Path, count: int) -> Path:
    pixels = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    pixels[::16] = 200
    return link_many(Image.fromarray(pixels), folder, count, ".jpg")


def link_many(picture: Image.Image, folder: Path, count: int, suffix: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:012d}{suffix}"
        if path.exists():
            continue
        if number % LINKS == 0:
            picture.save(path)
        else:
            os.link(folder / f"{number // LINKS * LINKS:012d}{suffix}", path)
    return folder


def write_coco(file: Any, count: int) -> None:
    """A COCO file with a picture in each line and a region in each line, written as it is made."""
    rng = np.random.default_rng(0)
    outlines = [json.dumps(outline(rng)) for _ in range(OUTLINES)]
    crowd = json.dumps({"size": [HEIGHT, WIDTH], "counts": [1000, *[60, 420] * 200, HEIGHT * WIDTH - 97_000]})
    total = round(count * REGIONS)
    owners = rng.integers(1, count + 1, total).tolist()
    categories = rng.integers(1, CATEGORIES + 1, total).tolist()
    chosen = rng.integers(0, OUTLINES, total).tolist()
    crowds = (rng.random(total) < 0.01).tolist()
    records = (
        f'{{"license": 3, "file_name": "{number:012d}.jpg", "coco_url": "http://example.org/{number:012d}.jpg", '
        f'"height": {HEIGHT}, "width": {WIDTH}, "date_captured": "2013-11-14 17:02:52", "id": {number + 1}}}'
        for number in range(count)
    )
    regions = (
        f'{{"segmentation": {crowd if crowds[number] else outlines[chosen[number]]}, "area": 702.1057499999998, '
        f'"iscrowd": {int(crowds[number])}, "image_id": {owners[number]}, "bbox": [473.07, 395.93, 38.65, 28.67], '
        f'"category_id": {categories[number]}, "id": {number + 1}}}'
        for number in range(total)
    )
    file.write('{"info": {"description": "made"}, "images": [')
    for place, record in enumerate(records):
        file.write((",\n" if place else "\n") + record)
    file.write('],\n"annotations": [')
    for place, region in enumerate(regions):
        file.write((",\n" if place else "\n") + region)
    names = [{"supercategory": "made", "id": number + 1, "name": f"thing-{number}"} for number in range(CATEGORIES)]
    file.write(f'],\n"categories": {json.dumps(names)}}}')


def outline(rng: np.random.Generator) -> list[list[float]]:
    """A ragged polygon of some 24 points, two decimals each, as in COCO."""
    points = max(3, int(rng.lognormal(3.0, 0.6)))
    radius = HEIGHT * min(0.5, rng.lognormal(-2.3, 0.8)) * rng.uniform(0.6, 1.1, points)
    angles = np.sort(rng.uniform(0, 2 * np.pi, points))
    centre = rng.uniform(0, 1, 2) * (WIDTH, HEIGHT)
    corners = centre + np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None]
    return [np.clip(corners, 0, (WIDTH, HEIGHT)).round(2).reshape(-1).tolist()]


if __name__ == "__main__":
    main()
