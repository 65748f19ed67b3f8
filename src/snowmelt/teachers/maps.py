"""A teacher whose answers lie in a folder of files, one for each picture."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from snowmelt.data.images import IMAGE_SUFFIXES
from snowmelt.data.labels import MAX_CLASSES, read_classes
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.errors import SnowmeltError
from snowmelt.teachers.digests import digest_files
from snowmelt.teachers.map_files import (
    ARRAY,
    PICTURE,
    FloatMaps,
    GreyMaps,
    LabelMaps,
    MapFormat,
    read_array,
    read_ids,
)
from snowmelt.teachers.options import OpenOptions, Outputs
from snowmelt.teachers.outputs import OutputJudge

CLASSES_FILE = "classes.txt"
SAMPLE = 16
"""So many files, spread over the folder, tell what all of its files are."""
_JUDGED_SIDE = 256  # pixels along each side of a map that are looked at


class MapFiles:
    """``StoredMaps`` in a folder. ``open_maps`` makes it; it can be pickled."""

    def __init__(
        self, folder: Path, files: Mapping[str, Path], form: MapFormat, classes: tuple[str, ...] | None
    ) -> None:
        self.folder = folder
        self.form = form
        self.classes = classes
        self._files = dict(files)

    def __len__(self) -> int:
        return len(self._files)

    @cached_property
    def digest(self) -> str:
        """Of the content and the names of all files, and of what they are taken for. Reads every file once."""
        files = [(name, self._files[name]) for name in sorted(self._files)]
        return digest_files(files, "maps", repr(self.form), self.classes)

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def read(self, name: str) -> Tensor:
        """(K, h, w) float32 logits for the picture of this name; h and w are the file's own.

        Errors: SnowmeltError where there is no such file, or it is damaged or unlike the folder's others.
        """
        path = self._find(name)
        if path is None:
            raise SnowmeltError(
                f"{self.folder}: none of its {len(self)} maps has the stem of {name}; add it or remove the picture",
                code="teacher-maps-missing",
            )
        return self.form.decode(path)

    def describe(self) -> str:
        return f"{self.folder} ({len(self)} map{'s' if len(self) > 1 else ''}, {self.form.describe()})"

    def _find(self, name: str) -> Path | None:
        """By the picture's path without its suffix, else by its stem alone."""
        path = PurePosixPath(name)
        if path.suffix.lower() in IMAGE_SUFFIXES:
            path = path.with_suffix("")
        return self._files.get(str(path)) or self._files.get(path.name)


def open_maps(target: str, options: OpenOptions) -> MapFiles:
    """The maps of a folder, found by the stem of a picture's name: ``0001.jpg`` has ``0001.npy`` or ``0001.png``.

    NPY: floats (K, H, W), or (H, W, K) where that is plain from the number of classes, are logits or probabilities,
    told apart by a sample of the files; (H, W) floats are one channel; (H, W) integers are class ids.
    PNG: class ids; for two classes, grey levels are the probability of class 1, and files of nothing but 0 and 1, or
    0 and 255, are labels. Labels become logits of ``HARD_CONFIDENCE``; 255 among ids is unknown and favours no class.

    The classes are those of ``classes.txt`` in the folder, else the student's. Sub-folders count where pictures have
    the same ones. A map may have another size than its picture; it covers the whole picture.

    Errors: SnowmeltError for no such folder, no maps, two of one stem, NPY and PNG side by side, maps that cannot be
    what ``options.outputs`` says, and for files that cannot be read.
    """
    folder = Path(target)
    files = _find_files(folder)
    listed = folder / CLASSES_FILE
    classes = read_classes(listed) if listed.is_file() else None
    count = len(classes or options.classes)
    paths = sorted(files.values())
    sample = [paths[index * (len(paths) - 1) // max(1, SAMPLE - 1)] for index in range(SAMPLE)]
    sample = list(dict.fromkeys(sample))
    form = _find_format(folder, sample, count, options.outputs)
    if isinstance(form, FloatMaps) and classes is not None and form.channels not in _possible_channels(count):
        raise SnowmeltError(
            f"{listed}: names {count} classes, but the maps have {form.channels} channels; mend the list",
            code="teacher-classes",
        )
    return MapFiles(folder, files, form, classes)


def _find_files(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SnowmeltError(f"{folder}: there is no such folder of maps; mend teacher.source", code="file-missing")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in (ARRAY, PICTURE) or path.name.startswith(".") or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise SnowmeltError(
                f"{folder}: {found[name].name} and {path.name} share one stem, so it is not plain which is the map; "
                "remove one",
                code="teacher-maps-folder",
            )
        found[name] = path
    if not found:
        raise SnowmeltError(
            f"{folder}: holds no maps; save one {ARRAY} or {PICTURE} file for each picture there",
            code="teacher-maps-folder",
        )
    if len({path.suffix.lower() for path in found.values()}) > 1:
        raise SnowmeltError(
            f"{folder}: holds {ARRAY} and {PICTURE} files; leave only one of the two there", code="teacher-maps-folder"
        )
    return found


def _find_format(folder: Path, sample: list[Path], count: int, asked: Outputs) -> MapFormat:
    if sample[0].suffix.lower() == ARRAY and read_array(sample[0]).dtype.kind == "f":
        return _find_float_format(folder, sample, count, asked)
    values: set[int] = set()  # of files that tell 1 from 255
    for path in sample:
        labels, bilevel = read_ids(path)
        if not bilevel:
            values.update(np.unique(labels).tolist())
    picture = sample[0].suffix.lower() == PICTURE
    if picture and count == 2 and (asked == "probabilities" or not values <= {0, 1, IGNORE_INDEX}):
        if asked == "logits":
            raise SnowmeltError(
                f"{folder}: grey pictures hold probabilities; remove teacher.outputs: logits", code="teacher-outputs"
            )
        return GreyMaps()
    if asked != "auto":
        raise SnowmeltError(
            f"{folder}: the maps hold class ids; remove teacher.outputs: {asked}", code="teacher-outputs"
        )
    return LabelMaps(count, white=count == 2 and IGNORE_INDEX in values and 1 not in values)


def _find_float_format(folder: Path, sample: list[Path], count: int, asked: Outputs) -> FloatMaps:
    judge = OutputJudge(str(folder))
    first: tuple[int, bool] | None = None
    for path in sample:
        values = read_array(path)
        last = _is_channels_last(values.shape, count, path)
        channels = 1 if values.ndim == 2 else values.shape[2 if last else 0]
        first = first or (channels, last)
        if (channels, last) != first:
            raise SnowmeltError(
                f"{path}: has the shape {values.shape}, unlike the {first[0]} channels of {sample[0].name}; mend it",
                code="teacher-map",
            )
        view = values[None] if values.ndim == 2 else values.transpose(2, 0, 1) if last else values
        # A part of the pixels is enough, and reading all of large maps would take its time.
        rows, columns = (max(1, side // _JUDGED_SIDE) for side in view.shape[1:])
        judge.see(torch.from_numpy(np.array(view[:, ::rows, ::columns]))[None], str(path))
    assert first is not None
    return FloatMaps(judge.verdict(asked), *first)


def _is_channels_last(shape: tuple[int, ...], count: int, path: Path) -> bool:
    """Told by the number of classes, else by the side that is smaller than both others; channels come first if both
    ends have the number of classes."""
    if len(shape) == 2:
        return False
    expected = _possible_channels(count)
    if shape[0] in expected or shape[2] in expected:
        return shape[0] not in expected
    first, last = shape[0] < min(shape[1:]), shape[2] < min(shape[:2])
    if first == last or min(shape[0], shape[2]) > MAX_CLASSES:
        raise SnowmeltError(
            f"{path}: of the shape {shape} it is not plain which side counts the classes; save (K, H, W), or name the "
            f"classes in {CLASSES_FILE} beside the maps",
            code="teacher-map",
        )
    return last


def _possible_channels(count: int) -> set[int]:
    return {1, 2} if count == 2 else {count}
