"""Reading a sound COCO file quickly and with little memory; whatever is doubtful is left to ``coco_file``."""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from snowmelt.data.coco_file import choose_classes, is_size
from snowmelt.data.coco_table import CocoTable, build_table

_BLOCK = 1 << 24
_NOT_THERE = msgspec.Raw(b"null")

# The union keeps 7.0 and 7 apart: msgspec would take the former for a whole number.
_Number = int | float


class _Category(msgspec.Struct, gc=False):
    id: _Number
    name: str


class _Image(msgspec.Struct, gc=False):
    id: _Number
    file_name: str
    height: _Number
    width: _Number


class _Annotation(msgspec.Struct, gc=False):
    image_id: _Number
    category_id: _Number
    id: Any = msgspec.UNSET
    iscrowd: Any = 0
    segmentation: msgspec.Raw = _NOT_THERE  # its place in the content; nothing is copied


class _File(msgspec.Struct, gc=False):
    categories: list[_Category]
    images: list[_Image]
    annotations: list[_Annotation]


def read_quickly(content: bytes, categories: Sequence[str], json_path: Path) -> CocoTable | None:
    """The table of a COCO file's ``content``, or None where ``read_coco`` has to say what it makes of it.

    Raises ``SnowmeltError`` as ``read_coco`` does for categories that are not there.
    """
    if not _is_utf8(content):
        return None  # strings that are passed over are not looked into
    try:
        file = msgspec.json.decode(content, type=_File)
    except (msgspec.MsgspecError, RecursionError):
        return None
    if not all(type(category.id) is int for category in file.categories):
        return None
    known = [{"id": category.id, "name": category.name} for category in file.categories]
    classes, label_of = choose_classes(known, tuple(categories), json_path)
    rows = _rows(file.images)
    return None if rows is None else _table(file, rows, classes, label_of)


def _rows(images: list[_Image]) -> dict[Any, int] | None:
    """The position of each image id."""
    rows: dict[Any, int] = {}
    for position, image in enumerate(images):
        numbers = (image.id, image.height, image.width)
        if any(type(number) is not int for number in numbers) or image.id in rows:
            return None
        if not is_size(int(image.height), int(image.width)):
            return None
        rows[image.id] = position
    return rows or None


def _table(
    file: _File, rows: dict[Any, int], classes: tuple[str, ...], label_of: dict[int, int | None]
) -> CocoTable | None:
    owners, labels, crowds, identities, segmentations = [], [], [], [], []
    for position, annotation in enumerate(file.annotations):
        category, image = annotation.category_id, annotation.image_id
        if type(category) is not int or type(image) is not int or category not in label_of or image not in rows:
            return None
        label = label_of[category]
        if label is None:
            continue
        if annotation.iscrowd not in (0, 1) or not _says_something(annotation.segmentation):
            return None
        owners.append(rows[image])
        labels.append(label)
        crowds.append(bool(annotation.iscrowd))
        identities.append(position if annotation.id is msgspec.UNSET else annotation.id)
        segmentations.append(annotation.segmentation)
    images: list[Any] = [(image.file_name, image.height, image.width) for image in file.images]
    return build_table(classes, images, owners, labels, crowds, identities, segmentations)


def _says_something(segmentation: msgspec.Raw) -> bool:
    """Whether the value is true in Python's sense."""
    start = bytes(memoryview(segmentation)[:2])
    if start[:1] in (b"[", b"{") and start[1:2] not in b"]} \t\r\n":
        return True
    try:
        return bool(json.loads(bytes(segmentation)))
    except (ValueError, RecursionError):  # a number of more digits than Python converts
        return False


def _is_utf8(content: bytes) -> bool:
    if content.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(content)
    try:
        for start in range(0, len(view), _BLOCK):  # piece by piece: the whole text would take up to four times as much
            decoder.decode(view[start : start + _BLOCK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
