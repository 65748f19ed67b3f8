"""Where results go, and that nothing is lost there unasked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snowmelt.errors import SnowmeltError
from snowmelt.jobs.predicting.inputs import Item
from snowmelt.jobs.predicting.request import FOLDERS, MASK, NOTE, OVERLAY, PROBABILITIES
from snowmelt.jobs.predicting.writing import write_legend

_PICTURE = {MASK: ".png", OVERLAY: ".jpg", PROBABILITIES: ".npz"}
_VIDEO = {MASK: ".mkv", OVERLAY: ".mp4", PROBABILITIES: "-frames"}
CLASSES = "classes.txt"
LEGEND = "legend.png"


@dataclass(frozen=True)
class Targets:
    """``masks/``, ``overlays/`` and ``probabilities/`` below ``root``, each with the structure of the inputs."""

    root: Path
    kinds: tuple[str, ...]
    frames: bool = False  # masks of a video's single frames

    def of(self, item: Item) -> dict[str, Path]:
        """File by kind; a folder where a video has one result for each frame (``frames`` is the kind of its masks)."""
        suffixes = _VIDEO if item.is_video else _PICTURE
        files = {kind: self._path(kind, item, suffixes[kind]) for kind in self.kinds}
        if item.is_video and self.frames:
            files["frames"] = self._path(MASK, item, "-frames")
        return files

    def _path(self, kind: str, item: Item, suffix: str) -> Path:
        # Not with_suffix: names may hold dots.
        return self.root / FOLDERS[kind] / item.name.with_name(item.name.name + suffix)

    def choose(self, items: Sequence[Item], *, overwrite: bool, resume: bool) -> list[Item]:
        """The items that are to be predicted: all, or with ``resume`` those that lack one of their results.

        Raises:
            SnowmeltError: a result would replace an input, or stand in another's folder; or results are there already
                and neither ``overwrite`` nor ``resume`` was asked for.
        """
        if overwrite and resume:
            raise SnowmeltError("--resume and --overwrite exclude each other; give one of them", code="option-conflict")
        files = [self.of(item) for item in items]
        self._refuse_own_inputs(items, files)
        if overwrite:
            return list(items)
        there = [path for each in files for path in each.values() if path.exists()]
        if there and not resume:
            raise SnowmeltError(
                f"{there[0]}: is there already{f', and {len(there) - 1} more' if len(there) > 1 else ''}; go on with "
                "--resume, replace with --overwrite, or choose another --output",
                code="output-exists",
            )
        return [item for item, each in zip(items, files, strict=True) if not all(map(Path.exists, each.values()))]

    def _refuse_own_inputs(self, items: Sequence[Item], files: Sequence[Mapping[str, Path]]) -> None:
        inputs = {os.path.realpath(item.path) for item in items if item.path is not None}
        singles: set[str] = set()
        folders: set[str] = set()
        for each in files:
            for path in each.values():
                real = os.path.realpath(path)
                if real in inputs:
                    raise SnowmeltError(f"{path}: is one of the inputs; choose another --output", code="output-taken")
                (folders if path.name.endswith("-frames") and not path.suffix else singles).add(real)
        for real in (*inputs, *singles):
            if os.path.dirname(real) in folders:
                raise SnowmeltError(
                    f"{os.path.dirname(real)}: is to hold the frames of a video, but other files go there; rename the "
                    "video or choose another --output",
                    code="output-taken",
                )

    def prepare(self, about: Mapping[str, Any], classes: Sequence[str], *, overwrite: bool) -> None:
        """Make the folders, and note what predicts and how; results of different networks are not mixed in one.

        Raises:
            SnowmeltError: other predictions lie here and ``overwrite`` was not asked for or would leave some of them,
                or it cannot be written.
        """
        note = self.root / NOTE
        before = self._note(note)
        if before is not None:
            different = [key for key, value in about.items() if not _same(key, before.get(key), value)]
            left = [
                folder for kind, folder in FOLDERS.items() if kind not in self.kinds and (self.root / folder).exists()
            ]
            if different and overwrite and left:
                raise SnowmeltError(
                    f"{self.root}: its {' and '.join(left)} were made otherwise ({', '.join(different)}) and would "
                    "stay; replace them, too (--save), remove them, or choose another --output",
                    code="output-exists",
                )
            if different and not overwrite:
                values = "; ".join(f"{key} was {before.get(key)!r} and is now {about[key]!r}" for key in different)
                raise SnowmeltError(
                    f"{self.root}: holds predictions that were made otherwise: {values}; choose another --output, or "
                    "replace with --overwrite",
                    code="output-exists",
                )
        try:
            for kind in self.kinds:
                (self.root / FOLDERS[kind]).mkdir(parents=True, exist_ok=True)
            write_text(note, json.dumps(dict(about), indent=2) + "\n")
            if MASK in self.kinds:  # training reads the names from there, also of classes that nowhere occur
                write_text(self.root / FOLDERS[MASK] / CLASSES, "\n".join(classes) + "\n")
            if OVERLAY in self.kinds:
                write_legend(self.root / LEGEND, classes)
        except OSError as error:
            raise SnowmeltError(
                f"{self.root}: cannot be written ({error.strerror or error}); choose another --output",
                code="file-unwritable",
            ) from error

    @staticmethod
    def _note(path: Path) -> dict[str, Any] | None:
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise SnowmeltError(
                f"{path}: is no note of a prediction; choose another --output", code="output-taken"
            ) from error
        return content if isinstance(content, dict) else {}


def _same(key: str, before: object, now: object) -> bool:
    """A file is the same however its path is written."""
    if key == "source" and isinstance(before, str) and isinstance(now, str):
        return os.path.realpath(before) == os.path.realpath(now)
    return before == now


def write_text(path: Path, text: str) -> None:
    """Aside, then renamed."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)
