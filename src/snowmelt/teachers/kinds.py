"""The kinds of teachers. To add one: write a file that opens it, and name it in ``KINDS``."""

from __future__ import annotations

import importlib
import os.path
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from snowmelt.errors import SnowmeltError
from snowmelt.teachers.options import OpenOptions
from snowmelt.teachers.protocol import StoredMaps, TeacherModel

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
BEST_WEIGHTS = Path("checkpoints") / "best.safetensors"
"""Where a run folder keeps the weights that teach."""

_PICTURES = (".png", ".npy", ".npz", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
_FORMS = (
    "give auto, none, a run folder, a weights file ("
    + " ".join(WEIGHT_SUFFIXES)
    + "), an .onnx file, a Hugging Face folder, hf:NAME for a model on the hub, or maps:DIR for precomputed maps"
)

Opened = TeacherModel | StoredMaps
Opener = Callable[[str, OpenOptions], Opened]


@dataclass(frozen=True)
class Kind:
    """One kind of teacher."""

    recognises: Callable[[Path], bool]
    """Whether an existing path, given without ``kind:``, is of this kind."""
    open: Opener
    """Takes what comes after ``kind:``, a path or a name."""


def _in(module: str, function: str) -> Opener:
    """A function that is imported when it is called: nobody pays for libraries of kinds that are not in use."""

    def open_it(target: str, options: OpenOptions) -> Opened:
        opened: Opened = getattr(importlib.import_module(module), function)(target, options)
        return opened

    return open_it


# The first that recognises a path has it.
KINDS: dict[str, Kind] = {
    "run": Kind(lambda path: (path / BEST_WEIGHTS).is_file(), _in("snowmelt.teachers.weights", "open_run")),
    "weights": Kind(lambda path: _is_file(path, *WEIGHT_SUFFIXES), _in("snowmelt.teachers.weights", "open_weights")),
    "onnx": Kind(lambda path: _is_onnx(path), _in("snowmelt.teachers.onnx", "open_onnx")),
    "hf": Kind(
        lambda path: (path / "config.json").is_file(), _in("snowmelt.teachers.hugging_face", "open_hugging_face")
    ),
    "maps": Kind(lambda path: False, _in("snowmelt.teachers.maps", "open_maps")),  # never guessed
}


def find_kind(source: str) -> tuple[str, str]:
    """(kind, target) of a teacher's source: ``kind:target`` as it is spelled, else by what lies at the path.

    ``auto`` and ``none`` are no kinds; the caller deals with them first.

    Errors: SnowmeltError for a path where nothing is, or something that is no teacher, with what can be given.
    """
    kind, colon, target = source.partition(":")
    if colon and kind in KINDS:
        if not target:
            raise SnowmeltError(
                f"teacher.source: {source!r} names nothing after {kind}:; write {kind}:TARGET", code="teacher-source"
            )
        return kind, os.path.expanduser(target)
    source = os.path.expanduser(source)
    path = Path(source)
    for name, candidate in KINDS.items():
        if candidate.recognises(path):
            return name, source
    raise _refusal(source, path)


def _is_file(path: Path, *suffixes: str) -> bool:
    return path.suffix.lower() in suffixes and path.is_file()


def _is_onnx(path: Path) -> bool:
    file, _, _ = str(path).rpartition("#")  # FILE.onnx#OUTPUT
    return _is_file(path, ".onnx") or _is_file(Path(file), ".onnx")


def _refusal(source: str, path: Path) -> SnowmeltError:
    if not path.exists():
        return SnowmeltError(f"teacher.source: {source} does not exist; {_FORMS}", code="file-missing")
    if path.is_file():
        return SnowmeltError(f"teacher.source: {source} is no teacher by its name; {_FORMS}", code="teacher-source")
    if any(entry.suffix.lower() in _PICTURES for entry in path.iterdir()):
        return SnowmeltError(
            f"teacher.source: {source} is a folder of pictures or arrays; for precomputed maps write maps:{source}",
            code="teacher-source",
        )
    if (path / "checkpoints").is_dir() or (path / "config.yaml").is_file():
        return SnowmeltError(
            f"teacher.source: {source}: holds no {BEST_WEIGHTS.as_posix()}; train that run until its first validation, "
            "or give another run folder or a weights file",
            code="run-unfinished",
        )
    return SnowmeltError(
        f"teacher.source: {source}: holds no {BEST_WEIGHTS.as_posix()}, no config.json and no maps; "
        "give a run folder or a weights file, a Hugging Face folder or maps:DIR",
        code="teacher-source",
    )
