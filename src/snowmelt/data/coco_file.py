"""Reading and validating a COCO annotation file into plain records, entry by entry: whatever is wrong is named.

Takes several times the file's size in memory. ``coco_quick`` reads sound files with less; this is the judge of others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snowmelt.data.decoding import MAX_PIXELS
from snowmelt.data.labels import check_classes
from snowmelt.data.picture_paths import locate, refuse_twin
from snowmelt.errors import SnowmeltError


def is_size(height: int, width: int) -> bool:
    """Whether a picture of so many pixels would be read. What a file only states costs nothing, but its masks do."""
    return height >= 1 and width >= 1 and height * width <= MAX_PIXELS


@dataclass(frozen=True)
class CocoAnnotation:
    """One region of a chosen category; ``segmentation`` is still as the file has it."""

    identity: Any
    label: int
    crowd: bool
    segmentation: Any


@dataclass(frozen=True)
class CocoImage:
    file_name: str
    path: Path
    height: int
    width: int
    annotations: list[CocoAnnotation] = field(default_factory=list)


def read_coco(
    image_folder: Path, json_path: Path, categories: Sequence[str] = ()
) -> tuple[tuple[str, ...], list[CocoImage]]:
    """Class names (background first) and the images with the annotations of the chosen categories.

    Raises ``SnowmeltError`` that names the JSON file and the entry: no JSON, a missing or mistyped key, an unknown
    category or image id, an id or file named twice, a path that leaves ``image_folder``, a missing picture.
    """
    if not image_folder.is_dir():
        raise SnowmeltError(f"{image_folder}: no such folder of images", code="data-folder-missing")
    content = _load(json_path)
    classes, label_of = choose_classes(_records(content, "categories", json_path), tuple(categories), json_path)
    images = _images(_records(content, "images", json_path), image_folder, json_path)
    for position, record in enumerate(_records(content, "annotations", json_path)):
        place = f"{json_path}: annotations[{position}]"
        category = _value(record, "category_id", int, place)
        image_id = _value(record, "image_id", int, place)
        if category not in label_of:
            raise SnowmeltError(
                f"{place}: category_id {category} is not among the categories of the file", code="annotation-entry"
            )
        if image_id not in images:
            raise SnowmeltError(
                f"{place}: image_id {image_id} is not among the images of the file", code="annotation-entry"
            )
        label = label_of[category]
        if label is None:
            continue
        crowd = record.get("iscrowd", 0)
        if crowd not in (0, 1):
            raise SnowmeltError(f"{place}: iscrowd is {crowd!r}; it must be 0 or 1", code="annotation-entry")
        segmentation = record.get("segmentation")
        if not segmentation:
            raise SnowmeltError(f"{place}: has no segmentation; a box alone makes no mask", code="annotation-region")
        annotation = CocoAnnotation(record.get("id", position), label, bool(crowd), segmentation)
        images[image_id].annotations.append(annotation)
    return classes, list(images.values())


def _load(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise SnowmeltError(f"{path}: cannot be read ({error.strerror or error})", code="file-unreadable") from error
    except (ValueError, RecursionError) as error:
        raise SnowmeltError(f"{path}: not valid JSON ({error})", code="annotation-file") from error
    if not isinstance(content, dict):
        raise SnowmeltError(
            f"{path}: not a COCO file; the outermost value must be an object with images, annotations",
            code="annotation-file",
        )
    return content


def _records(content: dict[str, Any], key: str, path: Path) -> list[dict[str, Any]]:
    records = content.get(key)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise SnowmeltError(f"{path}: {key!r} must be a list of objects", code="annotation-file")
    return records


def _value(record: dict[str, Any], key: str, kind: type, place: str) -> Any:
    value = record.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        state = "is missing" if key not in record else f"is {str(value)[:40]!r}"
        raise SnowmeltError(f"{place}: {key!r} {state}; it must be of type {kind.__name__}", code="annotation-entry")
    return value


def choose_classes(
    records: list[dict[str, Any]], chosen: tuple[str, ...], path: Path
) -> tuple[tuple[str, ...], dict[int, int | None]]:
    """Class names, and the class of each category id (None: not chosen). Categories of one name become one class."""
    names: dict[int, str] = {}
    for position, record in enumerate(records):
        place = f"{path}: categories[{position}]"
        identity = _value(record, "id", int, place)
        if identity in names:
            raise SnowmeltError(f"{place}: id {identity} is there twice", code="annotation-entry")
        names[identity] = _value(record, "name", str, place).strip()
    known = list(dict.fromkeys(names[identity] for identity in sorted(names)))
    for name in chosen:
        if name not in known:
            raise SnowmeltError(
                f"{path}: no category {name!r}; the file has {', '.join(known) or 'none'}", code="annotation-category"
            )
    classes = check_classes(("background", *(chosen or [name for name in known if name != "background"])), str(path))
    return classes, {identity: classes.index(name) if name in classes else None for identity, name in names.items()}


def _images(records: list[dict[str, Any]], folder: Path, path: Path) -> dict[int, CocoImage]:
    if not records:
        raise SnowmeltError(f"{path}: lists no images; there is nothing to learn from", code="data-no-images")
    inside = folder.resolve()
    images: dict[int, CocoImage] = {}
    seen: set[Path] = set()
    for position, record in enumerate(records):
        place = f"{path}: images[{position}]"
        identity = _value(record, "id", int, place)
        if identity in images:
            raise SnowmeltError(f"{place}: id {identity} is there twice", code="annotation-entry")
        height, width = (_value(record, key, int, place) for key in ("height", "width"))
        if not is_size(height, width):
            raise SnowmeltError(
                f"{place}: {str(width)[:20]} x {str(height)[:20]} is no size of a picture that can be read",
                code="annotation-size",
            )
        file_name = _value(record, "file_name", str, place)
        file = locate(file_name, folder, inside, place)
        if file in seen:
            refuse_twin(file_name, place)
        seen.add(file)
        images[identity] = CocoImage(file_name, file, height, width)
    return images
