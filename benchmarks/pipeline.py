"""How fast do images come from files? Images per second of one core, by source, beside the usual way of loading them.

    python benchmarks/pipeline.py                                    256 and 640 px, from every kind of source
    python benchmarks/pipeline.py --data coco:IMAGES:JSON --sizes 640 --json pipeline.json

One process on one thread, measured in its processor time, so that what else runs on the machine counts for nothing; a
disk that is waited for does not count either, and files are warm after the first round. Snowmelt and the usual
pipeline read the same files and take turns; quotients are formed within a round.

    folder          JPEG pictures and PNG masks
    polygons        COCO regions as polygons
    rle             the same regions as COCO's compressed run lengths
    store           pictures of `polygons`, or of --data, from an image store on the disk that is full already
    scenes          embedded scenes, which are drawn and not read

    loader          what a loading process does beside a GPU: everything up to the batch of bytes
    ready           with the colours of the whole batch and its normalisation, which the device does; on a CPU it is
                    the same processor. The quotients are of this
    usual           decoding by Pillow, regions rasterised one by one, changes item by item in float by torchvision,
                    normalised; `store` has none of its own and is compared with that of the source it was filled from
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from snowmelt.cli.processor import suit_the_processor

suit_the_processor()  # as the commands do; torch reads it when it is imported

import numpy as np
import torch
from common import Ratio, alternate, describe, machine, medians, ratio, table, write_json
from faster_coco_eval.core import mask as coco_mask
from loops.items import Items, in_float
from made_data import make_coco
from PIL import Image
from torch.utils.data import default_collate

from snowmelt.build.networks import make_input
from snowmelt.data import (
    AugmentedDataset,
    CocoSource,
    ImageStore,
    Source,
    StepSampler,
    StoredSource,
    build_transform,
    collate,
    fill_store,
    keys_of,
    open_splits,
)
from snowmelt.models import normalisation_of

ENCODER = "timm-efficientnet-b0"
"""Whose normalisation is applied."""
STORE = "store"
USUAL = "usual, "


class Pipeline:
    """Batches of Snowmelt, without a loader around them."""

    def __init__(self, source: Source, size: int, batch: int) -> None:
        self._dataset = AugmentedDataset(source, build_transform("light", size), seed=0)
        self._sampler = StepSampler(len(source), batch, seed=0)
        self._keys = self._endless()
        self._normalise = make_input(normalisation_of(ENCODER))
        self.loader: list[float] = []
        """Images per second up to the batch of bytes, by turn."""

    def _endless(self) -> Iterator[list[tuple[int, int]]]:
        epoch = 0
        while True:
            self._sampler.set_position(epoch)
            yield from self._sampler
            epoch += 1

    def turn(self, images: int) -> float:
        """Images per second of processor time, until batches are ready for a network."""
        done, loading, start = 0, 0.0, time.process_time()
        while done < images:
            begin = time.process_time()
            batch = collate([self._dataset[key] for key in next(self._keys)])
            loading += time.process_time() - begin
            self._normalise(batch.coloured().images)
            done += len(batch)
        self.loader.append(done / loading)
        return done / (time.process_time() - start)


class UsualPipeline:
    """Batches as most loops make them; a shuffled order of its own."""

    def __init__(self, spec: str, size: int, batch: int) -> None:
        self._items = Items(spec, in_float(size), size)
        self._batch = batch
        self._order = self._endless()

    def _endless(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(len(self._items)).tolist()

    def turn(self, images: int) -> float:
        """As ``Pipeline.turn``."""
        done, start = 0, time.process_time()
        while done < images:
            default_collate([self._items[next(self._order)] for _ in range(self._batch)])
            done += self._batch
        return done / (time.process_time() - start)


def main() -> None:
    arguments, found = parse(), machine()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        specs = {"data": arguments.data} if arguments.data else make_sources(Path(folder), arguments.images)
        sizes = {size: measure(specs, size, Path(folder, "stores"), arguments) for size in arguments.sizes}
    print(describe(found))
    for size, measured in sizes.items():
        print(f"\n{size} px, batches of {arguments.batch}; medians of {arguments.rounds} rounds\n\n{show(measured)}")
    if arguments.json:
        given = {key: value for key, value in vars(arguments).items() if key != "json"}
        write_json(arguments.json, {"machine": found, "settings": given, "sizes": sizes})


def measure(specs: Mapping[str, str], size: int, stores: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Speeds by source and round, and the quotients."""
    filled_from = "polygons" if "polygons" in specs else next(iter(specs))
    sources = {name: open_splits(spec, image_size=size).train for name, spec in specs.items()}
    sources[STORE] = stored(sources[filled_from], size, stores)
    ours = {name: Pipeline(source, size, arguments.batch) for name, source in sources.items()}
    usual = {name: UsualPipeline(spec, size, arguments.batch) for name, spec in specs.items()}
    turns = {name: (lambda each=each: each.turn(arguments.turn)) for name, each in ours.items()}
    turns |= {USUAL + name: (lambda each=each: each.turn(arguments.turn)) for name, each in usual.items()}
    rounds = alternate(turns, arguments.rounds)
    return {
        "rounds": rounds,
        "loader_rounds": {name: each.loader[1:] for name, each in ours.items()},  # without the round that warms up
        "ratios": {
            name: ratio(rounds[name], rounds[USUAL + (filled_from if name == STORE else name)]) for name in ours
        },
    }


def stored(source: Source, size: int, root: Path) -> StoredSource:
    """The source with its working pictures in a store on the disk."""
    store = ImageStore(root, build_transform("light", size).working_side, exact=False, say=print)
    keys = keys_of(source)
    fill_store(store, source, keys)
    return StoredSource(source, store.view(keys))


def show(measured: Mapping[str, Any]) -> str:
    """A line for each source."""
    middle, loader = medians(measured["rounds"]), medians(measured["loader_rounds"])
    ratios: Mapping[str, Ratio] = measured["ratios"]
    rows = [
        [name, loader[name], middle[name], middle.get(USUAL + name), 1000 / middle[name], str(ratios[name])]
        for name in ratios
    ]
    return table(["images/s of a core", "loader", "ready", "usual", "ms an image", "ready / usual (range)"], rows)


def make_sources(folder: Path, count: int) -> dict[str, str]:
    """The same pictures with the same regions, as SPECs: polygons, run lengths, a folder of masks; and scenes."""
    polygons = make_coco(folder / "coco", count)
    _, images, annotations = polygons.split(":")
    content = json.loads(Path(annotations).read_text())
    sizes = {record["id"]: (record["width"], record["height"]) for record in content["images"]}
    for record in content["annotations"]:
        lengths = coco_mask.segmToRle(record["segmentation"], *sizes[record["image_id"]])
        counts = lengths["counts"]
        record["segmentation"] = {
            "size": list(map(int, lengths["size"])),
            "counts": counts.decode() if isinstance(counts, bytes) else counts,
        }
    run_lengths = folder / "run-lengths.json"
    run_lengths.write_text(json.dumps(content))
    source = CocoSource(Path(images), Path(annotations))
    for kind in ("images", "masks"):
        (folder / "folder" / kind).mkdir(parents=True)
    for index in range(len(source)):
        name = source.name(index)
        os.link(Path(images, name), folder / "folder" / "images" / name)
        mask = np.asarray(source.load(index).mask)
        Image.fromarray(mask).save(folder / "folder" / "masks" / Path(name).with_suffix(".png"))
    (folder / "folder" / "classes.txt").write_text("\n".join(source.classes) + "\n")
    return {
        "folder": str(folder / "folder"),
        "polygons": polygons,
        "rle": f"coco:{images}:{run_lengths}",
        "scenes": f"scenes:{count}",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 640], help="sides of the items (256 640)")
    parser.add_argument("--batch", type=int, default=8, help="images in a batch (8)")
    parser.add_argument("--turn", type=int, default=64, help="images in a turn (64)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count (7)")
    parser.add_argument(
        "--data", metavar="SPEC", help="this data alone, and a store of it; made on the spot without it"
    )
    parser.add_argument("--images", type=int, default=96, help="how many are made, of 640 x 480 pixels (96)")
    parser.add_argument("--json", metavar="FILE", help="also write everything that was measured")
    return parser.parse_args()


if __name__ == "__main__":
    main()
