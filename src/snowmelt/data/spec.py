"""From a data SPEC, one short string, to the sources for training, validation and test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from snowmelt.data.checking import all_or_errors
from snowmelt.data.coco import CocoSource
from snowmelt.data.folders import open_folder
from snowmelt.data.samples import Source, SubsetSource
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.unlabelled import JoinedSource
from snowmelt.errors import SnowmeltError

DEFAULT_SCENES = 400
_FORMS = "scenes[:N], scenes-parts[:N], a folder with images/ and masks/, or coco:IMAGES:JSON[:category,...]"
_FEWEST_SCENES = 4  # to validate on


@dataclass(frozen=True)
class ScenesSpec:
    count: int
    variant: str  # a key of scenes.VARIANTS


@dataclass(frozen=True)
class FolderSpec:
    path: Path


@dataclass(frozen=True)
class CocoSpec:
    images: Path
    json: Path
    categories: tuple[str, ...]


Spec = ScenesSpec | FolderSpec | CocoSpec


@dataclass(frozen=True)
class Splits:
    """What to train, validate and (where the data has it) test on; ``note`` says in one line how they were split."""

    train: Source
    val: Source
    test: Source | None
    note: str

    @property
    def classes(self) -> tuple[str, ...]:
        return self.train.classes

    def check(self) -> None:
        """Read every item of every split once; ``SnowmeltError`` names the first bad file and counts all others."""
        wholes: dict[int, Source] = {}  # two parts of one source are checked together, once
        for source in (self.train, self.val, self.test):
            for part in source.sources if isinstance(source, JoinedSource) else (source,):
                whole = part.source if isinstance(part, SubsetSource) else part
                if whole is not None:
                    wholes.setdefault(id(whole), whole)
        all_or_errors(whole.check for whole in wholes.values())


def parse_spec(text: str) -> Spec:
    """What a SPEC asks for; touches the disk only to see whether a folder exists.

    Raises ``SnowmeltError``, with the known forms, for anything that is none of them.
    """
    kind, _, rest = text.partition(":")
    if kind in {"scenes", "scenes-parts"}:
        if rest and not (rest.isascii() and rest.isdigit() and int(rest) > 0):
            raise SnowmeltError(f"data {text!r}: {rest!r} is no number of scenes; write {kind}:200", code="data-spec")
        return ScenesSpec(int(rest) if rest else DEFAULT_SCENES, "parts" if kind == "scenes-parts" else "binary")
    if kind == "coco":
        parts = rest.split(":", 2)
        if len(parts) < 2 or not parts[0] or not parts[1]:
            raise SnowmeltError(
                f"data {text!r}: COCO data is written coco:IMAGES:JSON[:category,...]", code="data-spec"
            )
        categories = tuple(name.strip() for name in parts[2].split(",")) if len(parts) == 3 and parts[2] else ()
        if "" in categories:
            raise SnowmeltError(f"data {text!r}: a category between the commas is empty", code="data-spec")
        return CocoSpec(Path(parts[0]).expanduser(), Path(parts[1]).expanduser(), categories)
    path = Path(text).expanduser()
    if not text or not path.is_dir():
        raise SnowmeltError(f"data {text!r}: no such folder; data is given as {_FORMS}", code="data-folder-missing")
    return FolderSpec(path)


def open_splits(
    spec: str,
    *,
    val: str | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    image_size: int = 128,
    image_folder: str = "images",
    mask_folder: str = "masks",
    classes: Sequence[str] | None = None,
    index_folder: Path | None = None,
) -> Splits:
    """Training, validation and test sources of ``spec``.

    Validation is the second SPEC ``val`` if given, else the folder's own ``val``, else ``val_fraction`` of the images,
    chosen by a hash of (seed, name): the same choice on every machine, and nearly the same when images are added.
    Embedded scenes are drawn at ``image_size``; theirs are ``val_fraction`` more scenes of the same seed, and as many
    again for the test. ``classes`` names the ids of a folder's masks; other sources must have just these names.
    ``index_folder``: what is read and checked is kept there, so that the same data open quickly the next time; any
    number of runs may share it. Without one everything is read anew.

    Raises ``SnowmeltError`` for a SPEC, a folder or a file that is wrong, and for classes that differ between splits.
    """
    if not 0 < val_fraction < 1:
        raise SnowmeltError(f"val_fraction {val_fraction}: it must lie between 0 and 1", code="settings-value")
    names = tuple(classes) if classes is not None else None
    opener = _Opener(seed, image_size, image_folder, mask_folder, names, val_fraction, index_folder)
    found = opener.open(parse_spec(spec), default_classes=None)
    train, test = _part_of(found, ("train",), spec), found.get("test")
    if val is not None:
        second = opener.open(parse_spec(val), default_classes=train.classes)
        validation = _part_of(second, ("val", "train"), val)
        note = f"validation: {len(validation)} images of {val}"
    elif "val" in found:
        validation = found["val"]
        note = f"validation: {validation.describe()}"
    else:
        train, validation = split_by_name(train, val_fraction, seed)
        note = (
            f"validation: {len(validation)} of {len(train) + len(validation)} images (fraction {val_fraction:g}), set "
            f"apart by name and seed {seed}; the other {len(train)} are trained on"
        )
    for other in (validation, test):
        if other is not None:
            _same_classes(train, other, names)
    note += f"; test: {len(test)} images" if test is not None else "; no test set"
    return Splits(train, validation, test, note)


def _part_of(found: dict[str, Source], wanted: tuple[str, ...], spec: str) -> Source:
    """The first of the wanted parts that is there."""
    for name in wanted:
        if name in found:
            return found[name]
    names = "/ nor ".join(wanted)
    raise SnowmeltError(
        f"{spec}: has {'/, '.join(found)}/ but no {names}/; point at a folder that has {' or '.join(wanted)}/",
        code="data-part-missing",
    )


def open_second(
    spec: str,
    classes: tuple[str, ...],
    *,
    seed: int = 0,
    val_fraction: float = 0.1,
    image_size: int = 128,
    image_folder: str = "images",
    mask_folder: str = "masks",
    index_folder: Path | None = None,
    part: str | None = None,
) -> tuple[Source, str]:
    """A second data set to score on: all of its test part, else its validation part, else everything, and which it is.

    Args:
        part: ``train``, ``val`` or ``test``, of those that the data set has itself.
        classes: that it must have, in this order. They also name the ids of a folder that names none itself.

    The others are as for ``open_splits``.

    Raises ``SnowmeltError`` for a SPEC, a folder or a file that is wrong, and for classes that differ.
    """
    opener = _Opener(seed, image_size, image_folder, mask_folder, None, val_fraction, index_folder)
    found = opener.open(parse_spec(spec), default_classes=classes)
    if part is not None and part not in found:
        has = "is not split" if set(found) == {"train"} else f"has only {' and '.join(found)}"
        raise SnowmeltError(
            f"data {spec!r}: {has}, so it has no {part} part; leave the part out", code="data-part-missing"
        )
    part = part or next(name for name in ("test", "val", "train") if name in found)
    source = found[part]
    if source.classes != classes:
        lacking = [name for name in classes if name not in source.classes]
        extra = [name for name in source.classes if name not in classes]
        what = [f"it lacks {', '.join(lacking)}"] if lacking else []
        what += [f"it also has {', '.join(extra)}"] if extra else []
        raise SnowmeltError(
            f"data {spec!r}: its classes are not those that the networks know: "
            f"{'; '.join(what) or 'they stand in another order'}; give a data set with {', '.join(classes)}",
            code="network-classes",
        )
    return source, "all" if set(found) == {"train"} else part


def split_by_name(source: Source, fraction: float, seed: int) -> tuple[SubsetSource, SubsetSource]:
    """(rest, chosen): the ``fraction`` of items whose hash of (seed, name) comes first, at least one on each side."""
    count = len(source)
    if count < 2:
        raise SnowmeltError(
            f"{source.describe()}: too few images to set some apart for validation; give more, or val",
            code="data-too-few",
        )
    chosen = chosen_by_name([source.name(index) for index in range(count)], fraction, seed)
    rest = sorted(set(range(count)).difference(chosen))
    return SubsetSource(source, rest), SubsetSource(source, chosen)


def chosen_by_name(names: Sequence[str], fraction: float, seed: int) -> list[int]:
    """Positions of the ``fraction`` of names whose hash with the seed comes first, at least one and never all."""
    hashes = [hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest() for name in names]
    ranked = sorted(range(len(names)), key=hashes.__getitem__)
    return sorted(ranked[: min(len(names) - 1, max(1, round(len(names) * fraction)))])


@dataclass(frozen=True)
class _Opener:
    seed: int
    image_size: int
    image_folder: str
    mask_folder: str
    classes: tuple[str, ...] | None
    val_fraction: float
    index_folder: Path | None

    def open(self, spec: Spec, default_classes: tuple[str, ...] | None) -> dict[str, Source]:
        """Sources by split name; one without splits is "train"."""
        if isinstance(spec, FolderSpec):
            folders = open_folder(
                spec.path,
                image_folder=self.image_folder,
                mask_folder=self.mask_folder,
                classes=self.classes,
                default_classes=default_classes,
                index_folder=self.index_folder,
            )
            return dict(folders)
        sources: dict[str, Source]
        if isinstance(spec, CocoSpec):
            sources = {"train": CocoSource(spec.images, spec.json, spec.categories, self.index_folder)}
        else:
            sources = dict(open_scenes(spec, self.seed, self.image_size, self.val_fraction))
        found = sources["train"].classes
        if self.classes is not None and found != self.classes:
            raise SnowmeltError(
                f"classes {', '.join(self.classes)} were asked for, but the data has {', '.join(found)}; only a "
                "folder's classes can be named freely",
                code="data-classes-differ",
            )
        return sources


def open_scenes(spec: ScenesSpec, seed: int, image_size: int, val_fraction: float) -> dict[str, ScenesSource]:
    """Train, val and test from consecutive numbers of one seed, so that none shares a scene with another."""
    held_out = max(_FEWEST_SCENES, round(spec.count * val_fraction))
    counts = {"train": spec.count, "val": held_out, "test": held_out}
    firsts = {"train": 0, "val": spec.count, "test": spec.count + held_out}
    return {
        split: ScenesSource(count, seed, image_size, spec.variant, first=firsts[split])
        for split, count in counts.items()
    }


def _same_classes(train: Source, other: Source, asked: tuple[str, ...] | None) -> None:
    if train.classes != other.classes:
        hint = "" if asked else "; name the classes of a folder (classes) or the categories of a COCO file"
        raise SnowmeltError(
            f"training has the classes {', '.join(train.classes)}, but {', '.join(other.classes)} stand in "
            f"{other.describe()}{hint}",
            code="data-classes-differ",
        )
