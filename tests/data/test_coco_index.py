from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import save_image

from snowmelt.data import coco as coco_module
from snowmelt.data import file_memory
from snowmelt.data.coco import CocoSource
from snowmelt.data.coco_index import MappedTable
from snowmelt.data.spec import open_splits
from snowmelt.errors import SnowmeltError

Write = Callable[..., tuple[Path, Path]]


def regions(content: dict[str, Any]) -> None:
    """Five pictures with the odd names that a file may give them, and a few regions each in no order."""
    content["images"] += [
        {"id": number, "file_name": f"sub/\u00fc{number}.png", "height": 8, "width": 12} for number in range(4)
    ]
    rng = np.random.default_rng(0)
    for number in range(20):
        left, top = rng.integers(0, 8), rng.integers(0, 5)
        corners = [[left, top, left + 4, top, left + 4, top + 3, left, top + 3.5]]
        content["annotations"].append(
            {
                "id": f"r{number}",
                "image_id": [7, 0, 1, 2][rng.integers(4)],
                "category_id": [1, 3][rng.integers(2)],
                "iscrowd": int(rng.integers(5) == 0),
                "segmentation": [[float(value) for value in corners[0]]],
            }
        )


@pytest.fixture
def data(coco: Write) -> tuple[Path, Path]:
    folder, path = coco(regions)
    for number in range(4):
        save_image(folder / "sub" / f"\u00fc{number}.png", seed=number)
    return folder, path


def said(source: CocoSource) -> list[tuple[str, str, bytes]]:
    return [
        (source.name(index), source.mask_digest(index), source.load(index).mask.tobytes())
        for index in range(len(source))
    ]


def parsed(source: CocoSource) -> bool:
    return not isinstance(source.table, MappedTable)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read while the test runs: JSON files, pictures and masks."""
    seen: list[str] = []

    def watched(module: Any, name: str) -> None:
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given: (seen.append(f"{name} {Path(str(given[0])).name[:20]}"), real(*given))[1]
        )

    watched(file_memory, "probe_image")
    watched(file_memory, "file_digest")
    watched(file_memory, "find_mask")
    watched(coco_module, "_read_file")
    watched(coco_module, "paint_mask")
    return seen


@pytest.mark.parametrize("categories", [(), ("dog",), ("person", "dog")])
def test_an_indexed_source_is_the_same_source(
    data: tuple[Path, Path], tmp_path: Path, categories: tuple[str, ...]
) -> None:
    plain = CocoSource(*data, categories)
    first, later = (CocoSource(*data, categories, tmp_path / "index") for _ in range(2))
    assert parsed(plain) and not parsed(first) and not parsed(later)
    assert said(plain) == said(first) == said(later)
    assert plain.classes == later.classes and plain.describe() == later.describe()
    assert plain.digest(3) == later.digest(3)
    for image in range(5):
        np.testing.assert_array_equal(plain.mask(image), later.mask(image))


def test_the_second_start_reads_nothing_but_the_index(
    data: tuple[Path, Path], tmp_path: Path, reads: list[str]
) -> None:
    for again in (False, True):
        source = CocoSource(*data, index_folder=tmp_path / "index")
        source.check()
        digests = [source.digest(index) for index in range(len(source))]
        del source
        assert len(set(digests)) == 4 and (not reads if again else len(reads) == 1 + 3 * 5)
        reads.clear()


def test_only_what_changed_is_examined_again(data: tuple[Path, Path], tmp_path: Path, reads: list[str]) -> None:
    folder, _ = data
    CocoSource(*data, index_folder=tmp_path / "index").check()
    reads.clear()
    (folder / "sub" / "\u00fc1.png").write_bytes(b"no picture")
    for _ in range(2):
        with pytest.raises(SnowmeltError, match=r"1\.png: not a picture that can be read; replace or remove it$"):
            CocoSource(*data, index_folder=tmp_path / "index").check()
    assert reads == ["probe_image \u00fc1.png"] * 2
    save_image(folder / "sub" / "\u00fc1.png", height=9)
    with pytest.raises(SnowmeltError, match=r"\u00fc1\.png: .*12 x 9.*coco\.json says 12 x 8"):
        CocoSource(*data, index_folder=tmp_path / "index").check()


def test_other_annotations_are_read_and_checked(data: tuple[Path, Path], tmp_path: Path) -> None:
    _, path = data
    before = CocoSource(*data, index_folder=tmp_path / "index")
    before.check()
    stamps = path.stat()
    content = path.read_text()
    assert '"r5"' in content
    changed = json.loads(content)
    changed["annotations"][5].update(segmentation={"size": [8, 12], "counts": "11"}, iscrowd=0)
    path.write_text(json.dumps(changed).ljust(len(content)))
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    after = CocoSource(*data, index_folder=tmp_path / "index")
    for source in (after, after, CocoSource(*data, index_folder=tmp_path / "index")):  # a bad mask is not forgotten
        with pytest.raises(SnowmeltError, match=r"annotation r5 \(.*\): segmentation cannot be decoded"):
            source.check()
    assert not parsed(after) and len(said(before)) == 5  # whoever has it open keeps the old one
    assert len(list((tmp_path / "index").glob("*.index"))) == 1


@pytest.mark.parametrize("damage", ["cut", "longer", "bit", "head", "empty", "foreign"])
def test_a_damaged_index_is_built_anew(data: tuple[Path, Path], tmp_path: Path, damage: str, reads: list[str]) -> None:
    expected = said(CocoSource(*data, index_folder=tmp_path / "index"))
    (path,) = (tmp_path / "index").glob("*.index")
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[-30 if damage == "bit" else 40] ^= 1
    path.write_bytes(
        {"cut": good[:-1], "longer": good + b"0", "empty": b"", "foreign": b"PK" * 500}.get(damage, bytes(flipped))
    )
    reads.clear()
    for _ in range(2):
        assert said(CocoSource(*data, index_folder=tmp_path / "index")) == expected
    assert [each for each in reads if each.startswith("_read_file")] == ["_read_file pictures"]
    assert path.read_bytes() == good


def test_an_index_of_other_data_is_not_taken(data: tuple[Path, Path], tmp_path: Path, coco: Write) -> None:
    folder, path = data
    (tmp_path / "other.json").write_bytes(path.read_bytes().replace(b'"dog"', b'"cat"'))
    CocoSource(folder, tmp_path / "other.json", index_folder=tmp_path / "index")
    (theirs,) = (tmp_path / "index").glob("*.index")
    ours = CocoSource(folder, path, index_folder=tmp_path / "index").table.path  # type: ignore[attr-defined]
    ours.write_bytes(theirs.read_bytes())
    assert CocoSource(folder, path, index_folder=tmp_path / "index").classes == ("background", "person", "dog")


def test_a_folder_that_cannot_be_written_is_done_without(data: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"a file")
    source = CocoSource(*data, index_folder=tmp_path / "index")
    source.check()
    assert parsed(source) and said(source) == said(CocoSource(*data))


def test_a_picture_that_vanished_or_leads_out_is_noticed(data: tuple[Path, Path], tmp_path: Path) -> None:
    CocoSource(*data, index_folder=tmp_path / "index")
    picture = data[0] / "sub" / "\u00fc2.png"
    picture.rename(tmp_path / "moved.png")
    with pytest.raises(SnowmeltError, match=r"images\[3\]: .*does not exist") as caught:
        CocoSource(*data, index_folder=tmp_path / "index")
    with pytest.raises(SnowmeltError) as plain:
        CocoSource(*data)
    assert str(plain.value) == str(caught.value)
    os.symlink(tmp_path / "moved.png", picture)
    with pytest.raises(SnowmeltError, match=r"images\[3\]: .*leads out of"):
        CocoSource(*data, index_folder=tmp_path / "index")


@pytest.mark.parametrize("indexed", [False, True])
def test_workers_get_the_source(data: tuple[Path, Path], tmp_path: Path, indexed: bool) -> None:
    source = CocoSource(*data, index_folder=tmp_path / "index" if indexed else None)
    sent = pickle.dumps(source)
    assert said(pickle.loads(sent)) == said(source)
    assert (b"r5" in sent) != indexed  # a path travels, not the content


@pytest.mark.parametrize("change", ["gone", "another"])
def test_an_index_that_was_replaced_is_not_mistaken(data: tuple[Path, Path], tmp_path: Path, change: str) -> None:
    source = CocoSource(*data, index_folder=tmp_path / "index")
    expected, sent = said(source), pickle.dumps(source)
    if change == "gone":
        source.table.path.unlink()  # type: ignore[attr-defined]
    else:
        os.utime(data[1], ns=(1, 1))
        CocoSource(*data, index_folder=tmp_path / "index")
    assert said(source) == expected
    with pytest.raises(SnowmeltError, match=r"\.index: the index of a COCO file was changed or removed.*start again"):
        pickle.loads(sent)


def test_a_file_without_regions(coco: Write, tmp_path: Path) -> None:
    for _ in range(2):
        source = CocoSource(*coco(), index_folder=tmp_path / "index")
        source.check()
        assert not source.mask(0).any() and not parsed(source)


def test_a_masks_digest_tells_masks_apart(coco: Write) -> None:
    def digest(**changed: Any) -> str:
        region = {"image_id": 7, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]], **changed}
        return CocoSource(*coco(lambda content: content["annotations"].append(region))).mask_digest(0)

    others = [
        {"category_id": 3},
        {"iscrowd": 1},
        {"segmentation": [[1, 1, 5, 1, 5, 6]]},
        {"segmentation": [[1, 1, 5, 1, 5, 5], [7, 7, 8, 8, 7, 8]]},
    ]
    assert len({digest(), *(digest(**changed) for changed in others)}) == 5
    assert digest() == digest(id=99, area=3.0)


def test_a_reduced_picture_comes_with_the_whole_mask(coco: Write) -> None:
    folder, path = coco()
    save_image(folder / "a.jpg", height=80, width=120)
    picture = {"id": 9, "file_name": "a.jpg", "height": 80, "width": 120}
    region = {"image_id": 9, "category_id": 1, "segmentation": [[10, 10, 50, 10, 50, 50]]}
    content = {**json.loads(path.read_text()), "images": [picture], "annotations": [region]}
    path.write_text(json.dumps(content))
    source = CocoSource(folder, path)
    sample = source.load_reduced(0, 30)
    assert sample.image.shape == (20, 30, 3) and sample.name == "a.jpg"  # decoded at a quarter
    np.testing.assert_array_equal(sample.mask, source.load(0).mask)


def test_open_splits_hands_the_folder_on(data: tuple[Path, Path], tmp_path: Path, reads: list[str]) -> None:
    spec = f"coco:{data[0]}:{data[1]}"
    plain = open_splits(spec, seed=3)
    for again in (False, True):
        reads.clear()
        splits = open_splits(spec, seed=3, index_folder=tmp_path / "index")
        splits.check()
        assert not again or not reads
        assert [splits.val.name(index) for index in range(len(splits.val))] == [
            plain.val.name(index) for index in range(len(plain.val))
        ]
