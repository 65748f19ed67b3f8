"""Stored pictures: the same bits, found by what they hold, and never trusted when damaged."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import WriteFolder, save_image, save_mask

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, collate
from snowmelt.data.folders import FolderSource, open_folder
from snowmelt.data.loading import training_loader
from snowmelt.data.samples import Sample, Source, SubsetSource
from snowmelt.data.sampling import StepSampler
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.store import ImageStore, StoredSource, keys_of
from snowmelt.data.store_fill import fill_store
from snowmelt.data.transforms import AUGMENTATIONS, build_evaluation_transform, build_transform
from snowmelt.errors import SnowmeltError

SIDE = 20


class Heard(list[str]):
    def __call__(self, line: str) -> None:
        self.append(line)


def photographs(root: Path, count: int = 4) -> FolderSource:
    for index in range(count):
        save_image(root / "images" / f"p{index}.jpg", 60 + 9 * index, 50, seed=index)
        save_mask(root / "masks" / f"p{index}.png", (0, 1, 0), 60 + 9 * index, 50)
    return open_folder(root)["train"]


def opened(root: Path | None, said: Heard | None = None, exact: bool = False, side: int = SIDE) -> ImageStore:
    return ImageStore(root, side, exact, Heard() if said is None else said)


def stored(
    root: Path | None, source: Source, exact: bool = False, side: int = SIDE, shard_bytes: int = 1
) -> StoredSource:
    store = opened(root, exact=exact, side=side)
    keys = keys_of(source)
    fill_store(store, source, keys, shard_bytes=shard_bytes)
    return StoredSource(source, store.view(keys))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
@pytest.mark.parametrize("kept", ["disk", "memory"])
def test_items_are_the_same_to_the_bit_with_and_without_a_store(tmp_path: Path, kind: str, kept: str) -> None:
    source, transform = photographs(tmp_path / "data"), build_transform(kind, 16)
    root = tmp_path / "store" if kept == "disk" else None
    plain = AugmentedDataset(source, transform, 3)
    quick = AugmentedDataset(stored(root, source, side=transform.working_side), transform, 3)
    for epoch in range(3):
        for index in range(len(source)):
            one, other = plain[(epoch, index)], quick[(epoch, index)]
            assert torch.equal(one.image, other.image) and torch.equal(one.mask, other.mask)


def test_validation_is_the_same_to_the_bit_too(tmp_path: Path) -> None:
    source, boxed = photographs(tmp_path / "data"), build_evaluation_transform(SIDE)
    plain = EvaluationDataset(source, boxed)
    for held in (stored(tmp_path / "store", source, exact=True), stored(None, source, exact=True)):
        quick = EvaluationDataset(held, boxed)
        for index in range(len(source)):
            assert torch.equal(plain[index].image, quick[index].image)
            assert torch.equal(plain[index].mask, quick[index].mask)


def test_files_are_not_opened_again(tmp_path: Path) -> None:
    source = photographs(tmp_path / "data")
    held = stored(tmp_path / "store", source)
    shutil.rmtree(tmp_path / "data")
    assert held.working(2, SIDE, False).image.shape == (SIDE, 13, 3)
    with pytest.raises(SnowmeltError, match=r"p2\.jpg"):
        held.working(2, SIDE, True)  # another kind of picture, which has to come from the file
    with pytest.raises(SnowmeltError, match=r"p2\.jpg"):
        held.working(2, SIDE + 1, False)


def test_workers_read_stores_in_files_and_in_memory(tmp_path: Path) -> None:
    source, transform = ScenesSource(5, 0, 40), build_transform("light", 16)
    for root in (tmp_path, None):
        held = stored(root, source, side=transform.working_side)
        data = AugmentedDataset(held, transform, 3)
        loader = training_loader(data, StepSampler(5, 3, 0), 1, context="fork")
        expected = [collate([data[key] for key in keys]) for keys in StepSampler(5, 3, 0)]
        for found, batch in zip(loader, expected, strict=True):
            assert torch.equal(found.images, batch.images) and torch.equal(found.masks, batch.masks)


def test_a_view_pickles_to_places_and_not_to_pictures(tmp_path: Path) -> None:
    held = stored(tmp_path, ScenesSource(3, 0, 64), side=64)
    expected = held.pictures.read(1)
    content = pickle.dumps(held.pictures)
    assert len(content) < 3000
    in_memory = pickle.loads(pickle.dumps(stored(None, ScenesSource(3, 0, 64), side=64)))
    np.testing.assert_array_equal(in_memory.pictures.read(1).image, expected.image)
    again = pickle.loads(content)
    np.testing.assert_array_equal(again.read(1).image, expected.image)
    assert len(again) == 3 and not again.read(1).image.flags.writeable


def test_other_runs_find_what_is_there_by_what_it_holds(tmp_path: Path) -> None:
    root, store = tmp_path / "data", tmp_path / "store"
    source = photographs(root)
    stored(store, source)
    for folder, suffix in (("images", "jpg"), ("masks", "png")):
        (root / folder / f"p1.{suffix}").rename(root / folder / f"zebra.{suffix}")
    renamed = open_folder(root)["train"]
    assert opened(store).missing(keys_of(renamed)) == []
    assert opened(store).missing(keys_of(SubsetSource(renamed, [3, 0]))) == []
    assert len(opened(store, side=SIDE + 1).missing(keys_of(renamed))) == 4
    assert len(opened(store, exact=True).missing(keys_of(renamed))) == 4


@pytest.mark.parametrize("changed", ["picture", "mask", "classes"])
def test_what_has_changed_is_not_found(tmp_path: Path, changed: str) -> None:
    root, store = tmp_path / "data", tmp_path / "store"
    stored(store, photographs(root))
    if changed == "picture":
        save_image(root / "images" / "p1.jpg", 69, 50, seed=99)
    elif changed == "mask":
        save_mask(root / "masks" / "p1.png", (1, 0), 69, 50)
    else:
        (root / "classes.txt").write_text("background\nskin\nhair\n")
    missing = opened(store).missing(keys_of(open_folder(root)["train"]))
    assert len(missing) == (4 if changed == "classes" else 1)


def test_meaning_of_white_is_part_of_a_mask(tmp_path: Path) -> None:
    source = photographs(tmp_path / "data")
    black_and_white = FolderSource(source.pairs, source.labels.__class__(source.classes, True), source.where)
    assert not set(keys_of(source)) & set(keys_of(black_and_white))


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no description", "foreign description", "outside"])
def test_damaged_shards_are_put_aside_and_made_again(tmp_path: Path, damage: str) -> None:
    source, store = ScenesSource(3, 0, 32), tmp_path / "store"
    stored(store, source, side=32, shard_bytes=1 << 30)
    path = next(store.glob("*/*.bin"))
    about = path.with_suffix(".json")
    content = path.read_bytes()
    values = json.loads(about.read_bytes())
    if damage == "flipped":
        path.write_bytes(content[:500] + bytes([content[500] ^ 1]) + content[501:])
    elif damage == "cut":
        path.write_bytes(content[:-1])
    elif damage == "gone":
        path.unlink()
    elif damage == "no description":
        about.write_bytes(b"{")
    elif damage == "foreign description":
        about.write_text("[]")
    else:
        values["pictures"] = {key: [numbers[0] + 10**9, *numbers[1:]] for key, numbers in values["pictures"].items()}
        about.write_text(json.dumps(values))
    said = Heard()
    found = opened(store, said, side=32)
    assert len(found.missing(keys_of(source))) == 3
    assert len(said) == 1 and said[0].startswith(f"image store: {path} is not usable: ")
    assert not about.exists() and about.with_name(f"{about.name}.bad").exists()
    assert fill_store(found, source, keys_of(source)) == 3
    again = Heard()
    assert opened(store, again, side=32).missing(keys_of(source)) == [] and not again


def test_without_verifying_sizes_are_still_compared(tmp_path: Path) -> None:
    source = ScenesSource(2, 0, 32)
    stored(tmp_path, source, side=32, shard_bytes=1 << 30)
    path = next(tmp_path.glob("*/*.bin"))
    path.write_bytes(path.read_bytes()[1:] + b"x")
    assert not ImageStore(tmp_path, 32, False, Heard(), verify=False).missing(keys_of(source))
    path.write_bytes(path.read_bytes()[1:])
    assert ImageStore(tmp_path, 32, False, Heard(), verify=False).missing(keys_of(source))


def test_a_missing_picture_and_a_lost_file_are_said(tmp_path: Path) -> None:
    source = ScenesSource(3, 0, 32)
    with pytest.raises(SnowmeltError, match="3 pictures are not stored there"):
        opened(tmp_path, side=32).view(keys_of(source))
    view = stored(tmp_path, source, side=32).pictures
    for path in tmp_path.glob("*/*.bin"):
        path.unlink()
    with pytest.raises(SnowmeltError, match=r"stored pictures that were there before cannot be read"):
        view.read(0)


def test_a_stored_source_is_the_source_in_all_else(tmp_path: Path) -> None:
    source = photographs(tmp_path / "data")
    held = stored(None, source)
    assert isinstance(held, Source) and len(held) == 4 and held.classes == source.classes
    assert (held.name(2), held.digest(2), held.describe()) == (source.name(2), source.digest(2), source.describe())
    np.testing.assert_array_equal(held.load(1).image, source.load(1).image)
    held.check()


def test_keys_name_files_that_are_gone(write_folder: WriteFolder) -> None:
    root = write_folder()
    source = open_folder(root)["train"]
    (root / "images" / "img1.png").unlink()
    with pytest.raises(SnowmeltError, match=r"img1\.png"):
        keys_of(source)


def test_equal_pictures_are_stored_once(tmp_path: Path) -> None:
    twins = SubsetSource(ScenesSource(2, 0, 32), [0, 1, 0])
    held = stored(tmp_path, twins, side=32, shard_bytes=1 << 30)
    assert next(tmp_path.glob("*/*.bin")).stat().st_size == 2 * 4 * 32 * 32
    np.testing.assert_array_equal(held.pictures.read(0).image, held.pictures.read(2).image)


class Loud(ScenesSource):
    """Remembers what was read."""

    def __init__(self, count: int) -> None:
        super().__init__(count, 0, 32)
        self.read: list[int] = []

    def load(self, index: int) -> Sample:
        self.read.append(index)
        return super().load(index)


def test_a_store_reads_each_picture_once_in_all(tmp_path: Path) -> None:
    source = Loud(5)
    held = stored(tmp_path, source, side=32)
    data = AugmentedDataset(held, build_transform("none", 32), 0)
    for epoch in range(3):
        for index in range(5):
            data[(epoch, index)]
    stored(tmp_path, source, side=32)
    assert sorted(source.read) == [0, 1, 2, 3, 4]
