"""What the numbers in mask files mean: class ids, or black and white for background and foreground."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snowmelt.data.images import read_labels
from snowmelt.data.samples import IGNORE_INDEX
from snowmelt.errors import SnowmeltError

MAX_CLASSES = 254  # ids 0 to 253; 254 is UNLABELLED and 255 is IGNORE_INDEX
_MANY = 64  # more ids than this without a classes.txt are taken for grey levels, not for classes


@dataclass(frozen=True)
class LabelsFound:
    """The different values of one mask file."""

    values: frozenset[int]
    bilevel: bool


@dataclass(frozen=True)
class LabelMap:
    """How mask values become class indices.

    The value is the class id and 255 means ignored; or, with ``white_is_foreground``, 255 means class 1.
    Bilevel files are 0 and 1 either way.
    """

    classes: tuple[str, ...]
    white_is_foreground: bool = False

    def read(self, path: Path) -> np.ndarray:
        """(H, W) uint8 class indices; raises ``SnowmeltError`` naming the file and the label that is no class."""
        labels, bilevel = read_labels(path)
        if self.white_is_foreground and not bilevel:
            unknown = labels[(labels != 0) & (labels != 255)]
            if unknown.size:
                raise self.refusal(path, int(unknown.min()))
            return (labels == 255).astype(np.uint8)
        unknown = labels[(labels >= len(self.classes)) & (labels != IGNORE_INDEX)]
        if unknown.size:
            raise self.refusal(path, int(unknown.min()))
        return labels.astype(np.uint8)

    def unknown(self, found: LabelsFound) -> frozenset[int]:
        """The values among those found in a mask file that mean nothing."""
        if self.white_is_foreground and not found.bilevel:
            return found.values - {0, 255}
        return frozenset(value for value in found.values if value >= len(self.classes) and value != IGNORE_INDEX)

    def refusal(self, path: Path | str, label: int) -> SnowmeltError:
        """What is said about a mask that holds a label without a meaning."""
        if self.white_is_foreground:
            return SnowmeltError(
                f"{path}: label {label} is neither 0 ({self.classes[0]}) nor 255 ({self.classes[1]}), the only ones in "
                "the other masks; mend the mask",
                code="mask-label",
            )
        return SnowmeltError(
            f"{path}: label {label} is none of the classes {listed(self.classes)} (255: ignored); mend the mask or add "
            "the class to classes.txt",
            code="mask-label",
        )


def listed(classes: tuple[str, ...]) -> str:
    """``0 background, 1 skin``; the middle of a long list is left out."""
    parts = [f"{index} {name}" for index, name in enumerate(classes)]
    return ", ".join(parts if len(parts) <= 12 else [*parts[:10], "...", parts[-1]])


def find_labels(path: Path) -> LabelsFound:
    labels, bilevel = read_labels(path)
    return LabelsFound(frozenset(int(value) for value in np.unique(labels)), bilevel)


def infer_label_map(
    found: Iterable[LabelsFound],
    classes: tuple[str, ...] | None,
    where: Path,
    path_of: Callable[[int], Path | str] | None = None,
) -> LabelMap:
    """Decide from all masks of a data set together, because one mask alone may well hold only 0 and 255 (ignored).

    Masks that hold nothing but 0 and 255 are black and white if there are two classes, or none named. Without names
    the ids must be 0 .. K without a gap: a gap more often means grey levels than a class that never occurs.
    ``path_of`` gives the file of a position in ``found``, so that a refusal can name one.
    """
    found = list(found)
    values: set[int] = set()
    grey: set[int] = set()
    for item in found:
        values |= item.values
        if not item.bilevel:
            grey |= item.values
    if classes is not None:
        return LabelMap(classes, len(classes) == 2 and 255 in grey and grey <= {0, 255})
    ids = values - {IGNORE_INDEX}
    if 255 in grey and grey <= {0, 255}:
        return LabelMap(("background", "foreground"), white_is_foreground=True)
    if not ids or ids == {0}:
        raise SnowmeltError(
            f"{where}: the masks hold nothing but background; there is nothing to learn", code="mask-empty"
        )
    missing = sorted(set(range(max(ids))) - ids - {0})
    if missing or len(ids) > _MANY:
        shown = ", ".join(str(value) for value in sorted(ids)[:8]) + (", ..." if len(ids) > 8 else "")
        odd = next(place for place, item in enumerate(found) if max(ids) in item.values)
        example = "" if path_of is None else f" ({path_of(odd)} holds {max(ids)})"
        raise SnowmeltError(
            f"{where}: the masks hold the labels {shown}, which are not ids 0, 1, 2, ... of classes{example}; name the "
            "classes in classes.txt, one a line, or save ids instead of grey levels",
            code="mask-unnamed",
        )
    if max(ids) == 1:
        return LabelMap(("background", "foreground"))
    return LabelMap(("background", *(f"class_{index}" for index in range(1, max(ids) + 1))))


def check_classes(classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names themselves, if they can be classes: two or more, none twice, none empty."""
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise SnowmeltError(
            f"{where}: {len(classes)} classes; there must be 2 to {MAX_CLASSES}, background first",
            code="data-classes-invalid",
        )
    if "" in classes:
        raise SnowmeltError(f"{where}: an empty class name; give every class a name", code="data-classes-invalid")
    for position, name in enumerate(classes):
        if name in classes[:position]:
            raise SnowmeltError(
                f"{where}: the class {name!r} is there twice; every class needs its own name",
                code="data-classes-invalid",
            )
    return classes


def read_classes(path: Path) -> tuple[str, ...]:
    """``classes.txt``: one name a line, the first line is class 0, the background. Blank lines at the end are fine."""
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SnowmeltError(f"{path}: cannot be read as UTF-8 text ({error})", code="file-unreadable") from error
    return check_classes(tuple(line.strip() for line in lines), str(path))
