"""The quick reader agrees with the careful one, or leaves the file to it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_files import save_image
from hypothesis import given
from hypothesis import strategies as st

from snowmelt.data.coco import CocoSource
from snowmelt.data.coco_file import read_coco
from snowmelt.data.coco_quick import read_quickly
from snowmelt.errors import SnowmeltError

NAMES = ("a.png", "sub/b.png", "\u00e9.png")
Write = Callable[..., tuple[Path, Path]]

odd = st.sampled_from([None, True, 1.0, 7.0, "7", [], {}, 2**70, -1, 0, float("nan")])


def mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Something unusual in one of a hundred, so that about half of the files are sound."""
    return st.integers(0, 99).flatmap(lambda dice: usual if dice else odd)


def records(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    required = {"file_name", "height", "width", "image_id", "category_id", "name", "segmentation"}
    return st.fixed_dictionaries(
        {name: mostly(usual) for name, usual in fields.items() if name in required},
        optional={name: mostly(usual) for name, usual in fields.items() if name not in required},
    )


triangle = st.just([[0, 0, 6.5, 0, 0, 5]])
segmentations = st.one_of(triangle, triangle, st.just({"size": [8, 12], "counts": [10, 6, 80]}))
annotations = records(
    image_id=st.integers(0, 2),
    category_id=st.sampled_from([3, 5, 5]),
    id=st.one_of(st.integers(0, 9), st.text(max_size=2)),
    iscrowd=st.sampled_from([0, 0, 1]),
    segmentation=segmentations,
    area=st.floats(0, 9),
)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    images = [
        draw(records(file_name=st.just(name), height=st.just(8), width=st.just(12), license=st.text(max_size=2)))
        for name in NAMES
    ]
    for identity, image in enumerate(images):
        image["id"] = draw(mostly(st.just(identity)))
    categories = [{"id": 5, "name": "dog"}, {"id": draw(mostly(st.just(3))), "name": draw(mostly(st.just("person")))}]
    return {
        "info": draw(odd),
        "images": images,
        "categories": categories,
        "annotations": draw(st.lists(annotations, max_size=5)),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for name in NAMES:
        save_image(root / name)
    return root


@given(contents(), st.sampled_from([(), ("dog",), ("person", "dog"), ("cat",)]), st.booleans())
def test_every_file_is_read_as_the_careful_reader_reads_it(
    folder: Path, content: dict[str, Any], categories: tuple[str, ...], escaped: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "coco.json"
        path.write_text(json.dumps(content, ensure_ascii=escaped), encoding="utf-8", errors="surrogatepass")
        careful = outcome(lambda: careful_reading(folder, path, categories))
        for index in (None, Path(place) / "index", Path(place) / "index"):
            assert outcome(lambda index=index: indexed_reading(folder, path, categories, index)) == careful


def outcome(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except SnowmeltError as error:
        return str(error)


def careful_reading(folder: Path, path: Path, categories: tuple[str, ...]) -> Any:
    classes, images = read_coco(folder, path, categories)
    return classes, [
        (
            image.file_name,
            (image.height, image.width),
            [(str(each.identity), each.label, each.crowd, each.segmentation) for each in image.annotations],
        )
        for image in images
    ]


def indexed_reading(folder: Path, path: Path, categories: tuple[str, ...], index: Path | None) -> Any:
    source = CocoSource(folder, path, categories, index)
    table = source.table
    return source.classes, [
        (
            source.name(image),
            table.size(image),
            [
                (
                    table.identities[region].decode(),
                    int(table.labels[region]),
                    bool(table.crowds[region]),
                    json.loads(table.segmentations[region]),
                )
                for region in range(table.firsts[image], table.firsts[image + 1])
            ],
        )
        for image in range(len(source))
    ]


def test_a_sound_file_is_read_quickly(coco: Write) -> None:
    """Or the comparison above would compare the careful reader with itself."""
    _, path = coco(lambda content: content["annotations"].append({"image_id": 7, "category_id": 1, **REGION}))
    table = read_quickly(path.read_bytes(), ("person",), path)
    assert table is not None and table.classes == ("background", "person")
    assert list(table.identities) == [b"0"] and json.loads(table.segmentations[0]) == REGION["segmentation"]


REGION: dict[str, Any] = {"segmentation": [[1, 2, 3, 4, 5, 6]]}


@pytest.mark.parametrize(
    "old_new",
    [
        (b'"height": 8', b'"height": 8.0'),
        (b'"id": 7', b'"id": true'),
        (b'"width": 12', b'"width": 9999999999'),
        (b'"segmentation": [[1, 2, 3, 4, 5, 6]]', b'"segmentation": [ ]'),
        (b'"segmentation": [[1, 2, 3, 4, 5, 6]]', b'"segmentation": ""'),
        (b'"segmentation": [[1, 2, 3, 4, 5, 6]]', b'"segmentation": -0.0'),
        (b"[[1, 2", b"[[NaN, 2"),
        (b'"image_id": 7', b'"image_id": 8'),
        (b'"person"', b'"\xff"'),
        (b'"image_id": 7', b'"note": "\xff", "image_id": 7'),
        (b'"images"', b'"pictures"'),
    ],
    ids=lambda pair: pair[1].decode(errors="replace"),
)
def test_what_is_doubtful_is_left_to_the_careful_reader(coco: Write, old_new: tuple[bytes, bytes]) -> None:
    _, path = coco(lambda content: content["annotations"].append({"image_id": 7, "category_id": 1, **REGION}))
    content = path.read_bytes()
    assert old_new[0] in content
    assert read_quickly(content.replace(*old_new), (), path) is None


def test_categories_that_are_not_there_are_named_at_once(coco: Write) -> None:
    _, path = coco()
    with pytest.raises(SnowmeltError, match=r"coco\.json: no category 'cat'; the file has person, dog"):
        read_quickly(path.read_bytes(), ("cat",), path)
