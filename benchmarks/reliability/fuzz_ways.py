"""The ways in that commands use, kind by kind: each takes a folder with a damaged file and does what its command does.

A way raises ``SnowmeltError``, or gives what was said; whatever a command prints for a file that it passes over counts
as a refusal, too.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import fuzz_mutations as mutations
import fuzz_seeds as seeds
import torch
from fuzz_seeds import Seed

from snowmelt.build import make_engine, open_data
from snowmelt.build.networks import make_network
from snowmelt.build.teacher import open_teacher
from snowmelt.cli.app import app, run
from snowmelt.config import ExperimentConfig, NetworkConfig
from snowmelt.data import EvaluationDataset, build_evaluation_transform
from snowmelt.jobs.opening import open_run
from snowmelt.jobs.predicting.models import open_model
from snowmelt.models import save_weights
from snowmelt.teachers.cache import find_effects, open_cache
from snowmelt.training import Checkpoints, TrainState

SIZE = 32  # pixels along the side that the networks see


@dataclass(frozen=True)
class Room:
    """Folders of one case.

    Attributes:
        input: the user's files, the damaged one among them.
        output: the only place where anything may be written.
        file: the damaged one.
    """

    input: Path
    output: Path
    file: Path


@dataclass(frozen=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    text: str


Way = Callable[[Room], Said | None]


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        share: of all cases.
        ways: those in; cases take turns.
        owned: the files are Snowmelt's own, in the output folder, and may be put aside or written anew.
    """

    name: str
    share: float
    seeds: list[Seed]
    ways: dict[str, Way]
    owned: bool = False
    changes: dict[str, mutations.Mutation] = field(default_factory=lambda: dict(CHANGES))


CHANGES: dict[str, mutations.Mutation] = {
    "png": mutations.change_png,
    "jpeg": mutations.change_jpeg,
    "json": mutations.change_json,
    "yaml": mutations.change_yaml,
    "zip": mutations.change_zip,
    "safetensors": mutations.change_safetensors,
    "npy": mutations.change_npy,
    "array": mutations.change_array,
    "onnx": mutations.change_onnx,
}


def command(*words: str | Path) -> Said:
    """Run the command line in this process, as its own entry point does."""
    printed = io.StringIO()
    before, sys.argv = sys.argv, ["snowmelt", *map(str, words)]
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            code = run(app)
    finally:
        sys.argv = before
    return Said(code, printed.getvalue())


# ------------------------------------------------------------------------------------------------- data


def spec_of(room: Room) -> str:
    if room.file.suffix == ".json":
        return f"coco:{room.input / 'images'}:{room.file}"
    return str(room.input)


def experiment(room: Room, **values: Any) -> ExperimentConfig:
    data = {"source": spec_of(room), "image_size": SIZE, "workers": 0, "val_fraction": 0.3}
    student = {"encoder": seeds.ENCODER, "weights": "none", "decoder_channels": [16, 8, 8, 8, 8]}
    training = {"device": "cpu", "precision": "32", "threads": 1}
    return ExperimentConfig(**{"data": data, "output": room.output, "student": student, "training": training, **values})


def open_and_load(room: Room) -> None:
    """What ``train`` does with data before and while it trains, twice: the second time from the index."""
    splits = open_data(experiment(room))
    splits.check()
    splits = open_data(experiment(room))
    for source in (splits.train, splits.val):
        dataset = EvaluationDataset(source, build_evaluation_transform(SIZE))
        for index in range(len(source)):
            dataset[index]
            source.load(index)
            source.digest(index)
            source.mask_digest(index)


def check_data(room: Room) -> Said:
    return command("check-data", spec_of(room))


def predict(room: Room) -> Said:
    """On pictures, with a model that is sound."""
    words = ("--output", room.output / "predicted", "--device", "cpu")
    return command("predict", room.output.parent / "model.onnx", room.input / "images", *words)


def plan(room: Room) -> Said:
    return command("plan", room.file)


# ------------------------------------------------------------------------------------------------- weights


@cache
def engine() -> Any:
    return make_engine(ExperimentConfig(training={"device": "cpu", "precision": "32", "threads": 1}))


def scenes(room: Room, **teacher: Any) -> ExperimentConfig:
    """An experiment whose data are sound."""
    data = {"source": "scenes:4", "image_size": SIZE, "workers": 0}
    return experiment(room, data=data, teacher={"image_size": SIZE, **teacher})


def teach(room: Room) -> None:
    """Open a teacher and ask it once, its network named as the settings may."""
    named = {"architecture": "unet", "encoder": seeds.ENCODER, "decoder_channels": [16, 8, 8, 8, 8]}
    about = {} if room.file.suffix == ".onnx" else {"network": named}
    config = scenes(room, source=str(room.file), **about)
    teacher = open_teacher(config, str(room.file), open_data(config), engine(), lambda line: None)
    assert teacher.model is not None
    teacher.model(torch.zeros(1, 3, SIZE, SIZE, dtype=torch.uint8))


def start_student(room: Room) -> None:
    """The file as the student's first weights."""
    make_network(NetworkConfig(encoder=seeds.ENCODER, weights=str(room.file)), 1, seed=0)


def open_student(room: Room) -> None:
    """A run as export, evaluate and predict open it."""
    trained = open_run(room.input / "run")
    with torch.no_grad():
        trained.network(torch.zeros(1, 3, SIZE, SIZE))


def open_exported(room: Room) -> None:
    model = open_model(str(room.file), None, "cpu")
    model.network(torch.zeros(1, 3, *(model.size or (SIZE, SIZE)), dtype=torch.uint8))


def tiny() -> tuple[torch.nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 1, 1))
    optimizer = torch.optim.AdamW([{"params": network.parameters(), "name": "decoder"}], lr=1e-3)
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return network, optimizer


def checkpoints(folder: Path) -> Checkpoints:
    return Checkpoints(folder, {"epochs": 3, "groups": ["decoder"], "seed": 0}, {"classes": list(seeds.CLASSES)})


def save_checkpoint(folder: Path) -> None:
    state = TrainState(step=7, epoch=2, best_miou=0.5, best_epoch=1, sums={"loss": [1.0]}, thawed_in=[0, 1])
    checkpoints(folder).save_last(state, *tiny())


def resume(room: Room) -> None:
    """Go on from a checkpoint, and take a step."""
    network, optimizer = tiny()
    state = checkpoints(room.file.parent).load_last(network, optimizer)
    assert state is not None
    network(torch.rand(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state.next_epoch()


# ------------------------------------------------------------------------------------------------- stored answers


def read_cache(room: Room) -> Said:
    """What training does with a cache that is there: damaged shards are said and put aside, all others are read."""
    lines: list[str] = []
    encoding = seeds.cache_encoding()
    find_effects(room.input, seeds.TEACHER, encoding.size, encoding.channels)
    cache = open_cache(room.input, seeds.TEACHER, encoding, say=lines.append)
    known = [f"{shard}{number}" * 16 for shard in range(2) for number in range(3)]
    there = [digest for digest in known if digest not in cache.missing(known)]
    view = cache.view(there)
    for index in range(len(there)):
        encoding.decode(tuple(torch.from_numpy(plane)[None] for plane in view.read(index)))
    return Said(1 if lines else 0, "\n".join(lines))


def read_index(room: Room) -> None:
    """Data whose index in the output folder is damaged: it has to be made anew, and the data are as before."""
    config = ExperimentConfig(data={"source": f"coco:{room.input}/images:{room.input}/sound.json"}, output=room.input)
    splits = open_data(config)
    splits.check()
    shape = splits.train.load(0).mask.shape
    assert shape == (seeds.HEIGHT, seeds.WIDTH) and len(splits.train) + len(splits.val) == 2


def read_maps(room: Room) -> None:
    pictures = Room(room.input, room.output, room.input)
    config = experiment(pictures, teacher={"source": f"maps:{room.input / 'maps'}"})
    splits = open_data(config)
    teacher = open_teacher(config, f"maps:{room.input / 'maps'}", splits, engine(), lambda line: None)
    assert teacher.maps is not None
    for name in ("one.png", "two.png"):
        teacher.maps.read(name)


# ------------------------------------------------------------------------------------------------- all of them


def write_index(root: Path) -> None:
    import json

    for name, content in seeds.pairs().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (root / "sound.json").write_text(json.dumps(seeds.coco()))
    read_index(Room(root, root, root))


def trained_run() -> tuple[bytes, bytes]:
    """The weights and the settings of a run, as training leaves them."""
    from snowmelt.reporting import RunFolder

    config = experiment(Room(Path("images"), Path("runs"), Path("x")), name="run")
    metadata = {
        "snowmelt": "0", "run": "run", "network": seeds.NETWORK, "classes": list(seeds.CLASSES), "image_size": SIZE,
        "mean": [0.5] * 3, "std": [0.2] * 3, "epoch": 3, "step": 9, "best_miou": 0.5, "best_epoch": 2,
    }  # fmt: skip

    def write(folder: Path) -> None:
        save_weights(folder / "best.safetensors", seeds.small_network(), metadata)
        RunFolder(folder).write_config(config.model_dump(mode="json"))

    files = seeds.files_of(write)
    return files["best.safetensors"], files["config.yaml"]


def all_kinds() -> list[Kind]:
    """Every kind with sound files, made now."""
    weights, config = trained_run()
    cached = seeds.files_of(seeds.write_cache)
    sealed = seeds.files_of(save_checkpoint)["last.ckpt"]
    content = torch.load(io.BytesIO(sealed), weights_only=True)
    older = seeds.saved({key: value for key, value in content.items() if key != "sealed"})
    indexed = seeds.files_of(write_index)
    foreign, exported = seeds.weight_seeds(weights), seeds.onnx_seeds()
    index_files = [Seed(name, "bytes", body, indexed) for name, body in indexed.items() if "data-index" in name]
    return [
        Kind("images", 0.24, seeds.picture_seeds(), {"train": open_and_load, "check": check_data, "predict": predict}),
        Kind("masks", 0.1, seeds.mask_seeds(), {"train": open_and_load, "check": check_data}),
        Kind("COCO JSON", 0.16, seeds.coco_seeds(), {"train": open_and_load, "check": check_data}),
        Kind("YAML settings", 0.16, seeds.settings_seeds(), {"plan": plan}),
        Kind("teacher weights", 0.06, foreign, {"teach": teach}),
        Kind("student weights", 0.03, [seed for seed in foreign if seed.path != "bad.ckpt"], {"start": start_student}),
        Kind("runs", 0.05, seeds.run_seeds(weights, config), {"open": open_student}),
        Kind("checkpoints", 0.05, [Seed("last.ckpt", "zip", body) for body in (sealed, older)], {"resume": resume}),
        Kind("ONNX teachers", 0.05, exported, {"teach": teach}),
        Kind("ONNX exports", 0.03, exported[1:], {"predict": open_exported}),
        Kind(
            "cache shards", 0.05, seeds.seeds_among(cached, {".npy": "array", ".json": "json"}), {"read": read_cache},
            owned=True,
        ),
        Kind("data index", 0.02, index_files, {"read": read_index}, owned=True),
        Kind("maps", 0.02, seeds.map_seeds(), {"read": read_maps}),
    ]  # fmt: skip


def damage(kind: Kind, random: Random, others: list[bytes]) -> tuple[Seed, str, bytes, str]:
    """A case: the seed, the path and the content of the damaged file, and what was done."""
    seed = random.choice(kind.seeds)
    path, content = seed.path, seed.content
    change = kind.changes.get(seed.form)
    chance = random.random()
    if chance < 0.03 and not kind.owned and kind.name not in ("runs", "checkpoints"):
        stem, _, suffix = path.rpartition(".")
        path = f"{stem}.{random.choice(_NEIGHBOURS.get(suffix, (suffix,)))}"
        return seed, path, content, "another suffix"
    if chance < 0.06:
        return seed, path, mutations.splice(content, random, random.choice(others)), "splice"
    if change is not None and chance < 0.55:
        return seed, path, change(content, random), change.__name__
    chosen = random.choice(mutations.BYTES)
    return seed, path, chosen(content, random), chosen.__name__


_PICTURE_SUFFIXES = ("png", "jpg", "bmp", "tif", "webp", "gif", "ppm")
_NEIGHBOURS = {
    **{suffix: _PICTURE_SUFFIXES for suffix in _PICTURE_SUFFIXES},
    **{suffix: ("pth", "safetensors", "bin", "ckpt", "onnx") for suffix in ("pth", "pt", "bin", "ckpt", "safetensors")},
    "yaml": ("yml",),
    "onnx": ("pth", "safetensors"),
}
