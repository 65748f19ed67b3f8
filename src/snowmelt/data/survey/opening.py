"""From a data SPEC to the parts to look at, whatever is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from snowmelt.data.coco import CocoSource
from snowmelt.data.folders import find_splits, match_files, names_for
from snowmelt.data.picture_files import picture_files
from snowmelt.data.picture_paths import picture_path
from snowmelt.data.spec import CocoSpec, FolderSpec, ScenesSpec, chosen_by_name, open_scenes, parse_spec
from snowmelt.data.survey.findings import Finding, Item, plural
from snowmelt.data.survey.parts import CocoPart, FolderPart, Part, ScenesPart, UnlabelledPart
from snowmelt.data.unlabelled import UnlabelledSource
from snowmelt.errors import SnowmeltError


@dataclass
class Opened:
    """Parts of a data set, with the split of each of their items, and what was found while opening them.

    ``classes``: names as far as they are known; None: they are to be read off the masks.
    """

    spec: str
    parts: list[Part] = field(default_factory=list)
    classes: tuple[str, ...] | None = None
    findings: list[Finding] = field(default_factory=list)
    set_apart: bool = False
    """Whether validation images had to be chosen by name."""

    def splits(self, val_fraction: float, seed: int) -> list[np.ndarray]:
        """For each part the split of each item, as text; images set apart by name as training would do it."""
        found = [np.full(len(part), part.split, dtype="U12") for part in self.parts]
        first = next((position for position, part in enumerate(self.parts) if part.split == "train"), None)
        if first is not None and not any(part.split == "val" for part in self.parts) and len(self.parts[first]) > 1:
            self.set_apart = True
            found[first][chosen_by_name(list(self.parts[first].names), val_fraction, seed)] = "val"
        return found


def open_parts(
    spec: str,
    *,
    val: str | None = None,
    val_fraction: float = 0.1,
    seed: int = 0,
    image_size: int = 128,
    image_folder: str = "images",
    mask_folder: str = "masks",
    classes: Sequence[str] | None = None,
    unlabelled: str | None = None,
) -> Opened:
    """The same data that ``open_splits`` opens, for the same arguments, without stopping at what is wrong inside.

    Raises ``SnowmeltError`` where nothing can be looked at: no such folder, no known layout.
    """
    opened = Opened(spec)
    names = None if classes is None else tuple(classes)
    for group, text in enumerate((spec,) if val is None else (spec, val)):
        kind = parse_spec(text)
        if isinstance(kind, FolderSpec):
            parts = _open_folder(opened, kind.path, image_folder, mask_folder, names)
        elif isinstance(kind, CocoSpec):
            parts = _open_coco(opened, kind)
        else:
            parts = _open_scenes(opened, kind, seed, image_size, val_fraction)
        if group == 0:
            opened.parts += [part for part in parts if val is None or part.split != "val"]
            if parts and not any(part.split == "train" for part in parts):
                opened.findings.append(
                    Finding(
                        "error",
                        "no_train",
                        f"{spec}: has {', '.join(part.split for part in parts)} but no train",
                        "point at a folder that has train/",
                        code="data-part-missing",
                    )
                )
        else:
            second = next((part for name in ("val", "train") for part in parts if part.split == name), None)
            if second is not None:
                second.split, second.group = "val", group
                opened.parts.append(second)
    if unlabelled is not None:
        opened.parts.append(UnlabelledPart(UnlabelledSource(Path(unlabelled).expanduser())))
    _find_unlisted(opened)
    return opened


def _know_classes(opened: Opened, classes: tuple[str, ...] | None, where: str) -> None:
    if opened.classes is None:
        opened.classes = classes
    elif classes is not None and classes != opened.classes:
        opened.findings.append(
            Finding(
                "error",
                "classes_differ",
                f"{where} has the classes {', '.join(classes)}, {opened.spec} has {', '.join(opened.classes)}",
                "name the classes of a folder (data.classes) or the categories of a COCO file",
                code="data-classes-differ",
            )
        )


def _open_folder(
    opened: Opened, root: Path, image_folder: str, mask_folder: str, classes: tuple[str, ...] | None
) -> list[Part]:
    folders = find_splits(root, image_folder, mask_folder)
    try:
        names = names_for(root, [masks for _, masks in folders.values()], classes)
        _know_classes(opened, names, str(root))
    except SnowmeltError as error:
        opened.findings.append(Finding("error", "classes", str(error), "mend the list of classes", code=error.code))
    parts: list[Part] = []
    code = ""
    for split, (images, masks) in folders.items():
        try:
            matches = match_files(images, masks)
        except SnowmeltError as error:
            what, _, advice = str(error).rpartition("; ")
            opened.findings.append(Finding("error", "folder", what or str(error), advice, code=error.code))
            code = error.code
            continue
        parts.append(FolderPart(split, matches))
        missing = [Item(str(images / name), split) for name in matches.without_mask]
        if missing:
            what = (
                f"{plural(len(missing), 'image')} of {len(matches.images)} without a mask of the same stem in {masks}"
            )
            advice = "add the masks or remove the images"
            opened.findings.append(Finding("error", "no_mask", what, advice, missing, "mask-missing"))
        twins = [Item(str(folder / one), split, other=str(folder / two)) for folder, one, two in matches.twins]
        if twins:
            what = f"{plural(len(twins), 'pair')} of files share one stem, so image and mask cannot be matched"
            advice = "rename or remove one of each pair"
            opened.findings.append(Finding("error", "same_stem", what, advice, twins, "data-same-stem"))
        alone = [Item(str(masks / name), split) for name in matches.without_image]
        if alone:
            what = f"{plural(len(alone), 'mask')} without an image of the same stem in {images}"
            opened.findings.append(
                Finding(
                    "warning", "no_image", what, "training passes them over; add the images if they were lost", alone
                )
            )
    if not parts and opened.findings:
        raise SnowmeltError(f"{opened.findings[-1].what}; {opened.findings[-1].advice}", code=code)
    return parts


def _open_coco(opened: Opened, spec: CocoSpec) -> list[Part]:
    try:
        source = CocoSource(spec.images, spec.json, spec.categories)
    except SnowmeltError as error:
        what, _, advice = str(error).rpartition("; ")
        missing = _missing_pictures(spec)
        if not missing:
            opened.findings.append(Finding("error", "annotations", what or str(error), advice, code=error.code))
            return []
        what = f"{plural(len(missing), 'picture')} that {spec.json} lists not there in {spec.images}"
        advice = "add the pictures or remove their entries"
        opened.findings.append(Finding("error", "no_image", what, advice, missing, error.code))
        return []
    _know_classes(opened, source.classes, str(spec.json))
    return [CocoPart("train", source)]


def _find_unlisted(opened: Opened) -> None:
    """Note pictures that lie in a COCO data set's folders and that none of its files lists."""
    sources = [part.source for part in opened.parts if isinstance(part, CocoPart)]
    listed = {str(source.path(index)) for source in sources for index in range(len(source))}
    for folder in dict.fromkeys(source.image_folder for source in sources):
        alone = [Item(str(path), "") for path in picture_files(folder) if str(path) not in listed]
        if alone:
            what = f"{plural(len(alone), 'picture')} in {folder} that no annotation file lists"
            opened.findings.append(Finding("note", "unlisted", what, "training passes them over", alone))


def _missing_pictures(spec: CocoSpec) -> list[Item]:
    """Pictures that the file names and that are not there; none where the file is not even readable."""
    try:
        entries = json.loads(spec.json.read_bytes())["images"]
        paths = [picture_path(str(entry["file_name"]), spec.images) for entry in entries]
        return [Item(str(path), "train") for path in paths if not path.is_file()]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return []


def _open_scenes(opened: Opened, spec: ScenesSpec, seed: int, image_size: int, val_fraction: float) -> list[Part]:
    sources = open_scenes(spec, seed, image_size, val_fraction)
    _know_classes(opened, sources["train"].classes, "scenes")
    return [ScenesPart(split, source) for split, source in sources.items()]
