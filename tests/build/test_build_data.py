"""Choices that wait for the data: sizes, the thaw by the number of images, and a part of a set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_experiments import tiny, write_data_folder

from snowmelt.build import is_scenes, make_evaluation_batches, open_data, output_channels, settle
from snowmelt.build.data import thaw_for_size, worker_count
from snowmelt.config import ExperimentConfig, ThawConfig, with_values
from snowmelt.config_manager import ConfigManager
from snowmelt.data import Splits
from snowmelt.training import Engine

SIZES = [
    (1, "small_data"),
    (999, "small_data"),
    (1000, "medium_data"),
    (10_000, "medium_data"),
    (10_001, "large_data"),
    (1_000_000, "large_data"),
]


@pytest.mark.parametrize(("images", "name"), SIZES)
def test_auto_becomes_the_variant_for_that_many_images(images: int, name: str) -> None:
    settled, notes = settle(ConfigManager.get_config("auto"), images)
    variant = settle(ConfigManager.get_config(name), images)[0]
    own = {"name", "description", "schedule_by_size"}
    assert settled.model_dump(exclude=own) == variant.model_dump(exclude=own)
    [note] = notes
    assert note == (
        f"auto: {images} training images, so {name}: {variant.training.epochs} epochs, "
        f"first block thaws at epoch {variant.thaw.start}, one more every {variant.thaw.every}, "
        f"encoder rate x {variant.thaw.lr_scale}"
    )


@pytest.mark.parametrize("images", [10, 5000, 50_000])
def test_other_experiments_do_not_look_at_the_number_of_images(images: int) -> None:
    config = ConfigManager.get_config("fine_tuning")
    settled, notes = settle(config, images)
    assert (settled.thaw, notes) == (config.thaw, [])


def test_what_was_given_wins_over_what_auto_would_choose() -> None:
    given = {"thaw": {"every": 4, "most": 2}, "training": {"epochs": 30}}
    settled, [note] = settle(with_values(ConfigManager.get_config("auto"), given), 50)
    assert settled.thaw == ThawConfig(start=20, every=4, lr_scale=0.01, most=2)
    assert (settled.training.epochs, settled.teacher.epochs) == (30, 30)
    assert "so small_data: 30 epochs" in note
    assert "one more every 4" in note


def test_the_figures_are_the_published_ones() -> None:
    assert [thaw_for_size(images)[1] for images in (999, 1000, 10_001)] == [
        {"start": 20, "every": 10, "lr_scale": 0.01},
        {"start": 10, "every": 5, "lr_scale": 0.1},
        {"start": 5, "every": 3, "lr_scale": 0.3},
    ]


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
    assert settle(config, 10)[0].data.image_size == size
    given = with_values(config, {"data": {"image_size": 64}})
    assert settle(given, 10)[0].data.image_size == 64


def test_a_teacher_trains_as_long_as_its_student_unless_told() -> None:
    config = ExperimentConfig(training={"epochs": 7})
    assert settle(config, 10)[0].teacher.epochs == 7
    assert settle(with_values(config, {"teacher": {"epochs": 3}}), 10)[0].teacher.epochs == 3


def test_what_is_settled_stays_as_it_is(tmp_path: Path) -> None:
    for name in ConfigManager.list_configs():
        settled, _ = settle(ConfigManager.get_config(name), 50)
        assert settle(settled, 50)[0] == settled


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
