"""Choices that wait for the data: sizes, workers, and a part of a set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import tiny, write_data_folder

from snowmelt.build import is_scenes, make_evaluation_batches, open_data, output_channels, settle
from snowmelt.build.data import worker_count
from snowmelt.config import ExperimentConfig, with_values
from snowmelt.data import Splits
from snowmelt.training import Engine


@pytest.mark.parametrize(
    ("source", "scenes", "size"),
    [
        *(("scenes", True, 128), ("scenes:9", True, 128), ("scenes-parts", True, 128), ("scenes-parts:9", True, 128)),
        *(("somewhere", False, 256), ("coco:images:file.json", False, 256), ("./scenes", False, 256)),
    ],
)
def test_the_image_size_depends_on_where_images_come_from(source: str, scenes: bool, size: int) -> None:
    config = ExperimentConfig(data={"source": source})
    assert is_scenes(config) is scenes
    assert settle(config, 10, 2)[0].data.image_size == size
    given = with_values(config, {"data": {"image_size": 64}})
    assert settle(given, 10, 2)[0].data.image_size == 64


def test_two_classes_take_one_logit_and_more_take_one_each() -> None:
    assert [output_channels(tuple("abcdef")[:count]) for count in (2, 3, 6)] == [1, 3, 6]


def test_workers_are_as_set_or_one_for_every_spare_core_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def count(cores: int | None, workers: int | None = None, device: str = "cuda") -> int:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        return worker_count(ExperimentConfig(data={"workers": workers}, training={"device": device}))

    assert [count(cores, device="cpu") for cores in (None, 2, 64)] == [0, 0, 0]
    assert count(8, 3, "cpu") == 3

    assert [count(cores) for cores in (None, 1, 2, 4, 9, 64)] == [1, 1, 1, 3, 8, 8]
    assert [count(8, workers) for workers in (0, 1, 20)] == [0, 1, 20]


def names(splits: Splits) -> list[str]:
    return [splits.train.name(index) for index in range(len(splits.train))]


def open_tiny(**data: Any) -> Splits:
    return open_data(tiny(Path(), data=data))


def test_a_limit_takes_some_training_images_and_all_others() -> None:
    whole, part = open_tiny(source="scenes:12"), open_tiny(source="scenes:12", limit=5)
    assert len(part.train) == 5
    assert set(names(part)) < set(names(whole))
    assert names(part) == names(open_tiny(source="scenes:12", limit=7))[:5]  # less data is a part of more data
    assert names(part) != names(whole)[:5]
    assert [len(part.val), part.classes] == [len(whole.val), whole.classes]
    assert part.val.name(0) == whole.val.name(0)


@pytest.mark.parametrize("limit", [12, 13, 1000])
def test_a_limit_beyond_the_set_changes_nothing(limit: int) -> None:
    assert names(open_tiny(source="scenes:12", limit=limit)) == names(open_tiny(source="scenes:12"))


def test_which_images_a_limit_takes_depends_on_the_data_seed_alone() -> None:
    config = tiny(Path(), data={"source": "scenes:12", "limit": 5})
    chosen = names(open_data(config))
    assert names(open_data(with_values(config, {"seed": 9}))) == chosen
    assert names(open_data(with_values(config, {"data": {"seed": 9}}))) != chosen


def test_a_folder_is_opened_with_its_settings(tmp_path: Path) -> None:
    root = write_data_folder(tmp_path / "set")
    (root / "images").rename(root / "photos")
    (root / "masks").rename(root / "labels")
    data = {"source": str(root), "image_folder": "photos", "mask_folder": "labels", "classes": ["ground", "box"]}
    splits = open_data(tiny(tmp_path, data={**data, "val_fraction": 0.34}))
    assert (len(splits.train), len(splits.val), splits.classes) == (4, 2, ("ground", "box"))


def test_a_second_spec_validates(tmp_path: Path) -> None:
    first, second = write_data_folder(tmp_path / "first"), write_data_folder(tmp_path / "second", count=3)
    splits = open_data(tiny(tmp_path, data={"source": str(first), "val": str(second)}))
    assert (len(splits.train), len(splits.val)) == (6, 3)


def test_evaluation_sees_every_image_once_and_unchanged(config: ExperimentConfig, engine: Engine) -> None:
    source = open_tiny(source="scenes:11").train
    batches = list(make_evaluation_batches(config, source, engine))
    assert [index for batch in batches for index in batch.indices.tolist()] == list(range(11))
    assert [len(batch) for batch in batches] == [8, 3]
    expected = torch.from_numpy(source.load(0).image).permute(2, 0, 1)
    assert torch.equal(batches[0].images[0], expected)


def test_evaluation_is_shared_between_processes(config: ExperimentConfig, splits: Splits) -> None:
    class Rank:
        def __init__(self, rank: int) -> None:
            self.rank, self.world_size, self.device = rank, 3, torch.device("cpu")

    shares: list[list[int]] = []
    for rank in range(3):
        batches = make_evaluation_batches(config, splits.val, Rank(rank))  # type: ignore[arg-type]
        shares.append([index for batch in batches for index in batch.indices.tolist()])
    assert sorted(index for share in shares for index in share) == list(range(len(splits.val)))


def test_the_subset_is_checked_with_the_rest(tmp_path: Path) -> None:
    splits = open_tiny(source=str(write_data_folder(tmp_path / "set")), limit=2)
    splits.check()
    assert replace(splits, test=None).train.describe()
