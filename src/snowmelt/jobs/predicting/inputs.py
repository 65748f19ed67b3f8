"""Which pictures and videos are meant, and under which name the results of each go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from snowmelt.data import IMAGE_SUFFIXES, Source, picture_files, read_image
from snowmelt.errors import SnowmeltError
from snowmelt.inference import VIDEO_SUFFIXES
from snowmelt.jobs.predicting.request import FOLDERS, NOTE


@dataclass(frozen=True)
class Item:
    """One picture or video.

    Attributes:
        name: of its results, without suffix; a path below the folders of the output.
        shown: what messages call it.
        path: its file; ``None`` for an image that a data source makes.
        load: (H, W, 3) uint8 RGB of a picture, upright; ``None`` for a video.
    """

    name: PurePosixPath
    shown: str
    path: Path | None
    load: Callable[[], np.ndarray] | None = None

    @property
    def is_video(self) -> bool:
        return self.load is None


@dataclass(frozen=True)
class Found:
    """Items in the order of the inputs.

    Attributes:
        videos_passed_over: in folders, which are searched for pictures alone.
        results_passed_over: folders below the inputs in which results of an earlier prediction lie.
    """

    items: list[Item]
    videos_passed_over: int = 0
    results_passed_over: tuple[Path, ...] = ()


def find_inputs(inputs: Sequence[Path], leave_out: Path) -> Found:
    """Pictures, videos and the pictures of folders with all below them.

    A file that is given twice counts once. A folder's structure is kept. Of several inputs each folder gets one of
    its own, by its name. Where results would share a name, each gets its file's suffix into it (``a_jpg``,
    ``a_png``), and a number where that is not enough. What an earlier prediction left in such a folder is passed over.

    Args:
        leave_out: the folder of the results, which is not searched.

    Raises:
        SnowmeltError: an input that is not there, is no picture and no video by its name, or a folder without pictures.
    """
    found: list[tuple[PurePosixPath, Path]] = []
    passed_over = 0
    earlier: list[Path] = []
    for given in inputs:
        if given.is_dir():
            inside = PurePosixPath(given.resolve().name) if len(inputs) > 1 else PurePosixPath()
            paths, videos, results = _pictures_below(given, leave_out.resolve())
            if not paths:
                hint = f", only {videos} videos; name them one by one" if videos else f" ({', '.join(IMAGE_SUFFIXES)})"
                hint = ", only results of an earlier prediction" if results else hint
                raise SnowmeltError(f"{given}: holds no pictures{hint}", code="data-no-images")
            passed_over += videos
            earlier += results
            found += [(inside / path.relative_to(given).as_posix(), path) for path in paths]
        elif not given.exists():
            raise SnowmeltError(f"{given}: no such file or folder", code="file-missing")
        elif given.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES):
            known = ", ".join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
            raise SnowmeltError(
                f"{given}: neither a picture nor a video by its name; known are {known}", code="input-unknown"
            )
        else:
            found.append((PurePosixPath(given.name), given))
    first: dict[str, tuple[PurePosixPath, Path]] = {}
    for entry in found:
        first.setdefault(os.path.realpath(entry[1]), entry)
    found = list(first.values())
    names = _distinct([relative for relative, _ in found])
    return Found([_item(name, path) for name, (_, path) in zip(names, found, strict=True)], passed_over, tuple(earlier))


def items_of(source: Source) -> list[Item]:
    """The images of a data source, under its own names."""
    relative = [PurePosixPath(source.name(index).replace("\\", "/").lstrip("/")) for index in range(len(source))]
    safe = [PurePosixPath(*(part for part in path.parts if part not in ("..", "."))) for path in relative]
    return [
        Item(name, source.name(index), None, lambda index=index: source.load(index).image)  # type: ignore[misc]
        for index, name in enumerate(_distinct(safe))
    ]


def _item(name: PurePosixPath, path: Path) -> Item:
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Item(name, str(path), path)
    return Item(name, str(path), path, lambda: read_image(path))


def _pictures_below(folder: Path, leave_out: Path) -> tuple[list[Path], int, list[Path]]:
    """Pictures, number of videos, and folders with results of before, whose masks and overlays are no inputs.

    Sorted, folder by folder; links to folders are followed, each folder is entered once; hidden ones are not.
    """
    found: list[Path] = []
    earlier: list[Path] = []
    videos = 0
    entered: set[str] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(current)
        if real in entered or Path(real) == leave_out:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if NOTE in files:
            earlier.append(Path(current))
            folders[:] = [name for name in folders if name not in FOLDERS.values()]
        found += picture_files(Path(current))
        videos += sum(os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES for name in files if name[0] != ".")
    return found, videos, earlier


def _distinct(paths: Iterable[PurePosixPath]) -> list[PurePosixPath]:
    """Names without suffix, no two alike, not even where a file system takes upper and lower case for the same.

    All that would share a name get their suffix into it, the first of them, too: if only later ones did, a picture that
    is added to a folder would take over a name under which another's results lie, and ``--resume`` would believe them.
    """
    every = list(paths)
    plain = [path.with_suffix("") if path.suffix else path for path in every]
    alike = Counter(str(name).lower() for name in plain)
    unique = {name for name, count in alike.items() if count == 1}
    taken = set(unique)
    names = []
    for path, name in zip(every, plain, strict=True):
        if str(name).lower() not in unique:
            name = _free(name, path.suffix.lstrip("."), taken)
        names.append(name)
    return names


def _free(name: PurePosixPath, suffix: str, taken: set[str]) -> PurePosixPath:
    """``name_suffix``, or with a number behind it, which is taken from then on."""
    marked = name.with_name(f"{name.name}_{suffix}") if suffix else name
    free, count = marked, 1
    while str(free).lower() in taken:
        count += 1
        free = marked.with_name(f"{marked.name}_{count}")
    taken.add(str(free).lower())
    return free
