"""Teachers of each kind out of settings, how their answers reach a run, and images that nobody has labelled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_experiments import ENCODER, write_data_folder

from snowmelt.build import (
    OpenedTeacher,
    choose_mode,
    join_unlabelled,
    labelled_only,
    make_network,
    make_run,
    open_data,
    open_teacher,
    stored_teaching,
)
from snowmelt.config import ExperimentConfig, NetworkConfig, with_values
from snowmelt.data import JoinedSource, Splits
from snowmelt.errors import SnowmeltError
from snowmelt.models import fold_norms, save_weights
from snowmelt.training import Engine

NETWORK = NetworkConfig(encoder=ENCODER, weights="none", decoder_channels=[16, 8, 8, 8, 8])


@dataclass(frozen=True)
class Opener:
    """Opens teachers of one experiment and keeps what was said."""

    config: ExperimentConfig
    splits: Splits
    engine: Engine
    said: list[str]

    def __call__(self, source: Path | str, **teacher: Any) -> OpenedTeacher:
        config = with_values(self.config, {"teacher": {"source": str(source), **teacher}})
        return open_teacher(config, str(source), self.splits, self.engine, self.said.append)


@pytest.fixture
def opens(config: ExperimentConfig, splits: Splits, engine: Engine) -> Opener:
    return Opener(config, splits, engine, [])


@pytest.fixture
def weights(tmp_path: Path) -> Callable[..., Path]:
    """A bare state dict, as another trainer leaves it."""

    def write(channels: int = 1, name: str = "teacher.safetensors", **metadata: Any) -> Path:
        save_weights(tmp_path / name, make_network(NETWORK, channels, seed=5).network, metadata)
        return tmp_path / name

    return write


def images(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 64, 64), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def test_a_file_is_known_by_its_tensors_whatever_the_experiment_would_train(
    opens: Opener, weights: Callable[..., Path]
) -> None:
    opened = opens(weights(), network={"encoder": "resnet18", "weights": "none"})
    assert opened.network is not None
    expected = fold_norms(make_network(NETWORK, 1, seed=5).network).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in opened.network.state_dict().items())
    assert any("does not hold the network that teacher.network names" in line for line in opens.said)


def test_a_file_that_fits_nothing_keeps_the_first_reason(opens: Opener, tmp_path: Path) -> None:
    save_weights(tmp_path / "odd.safetensors", torch.nn.Linear(3, 2), {})
    with pytest.raises(SnowmeltError) as refused:
        opens(tmp_path / "odd.safetensors", network={"encoder": "resnet18"})
    assert "odd.safetensors" in str(refused.value) and "\n" not in str(refused.value)


def test_five_classes_teach_two(opens: Opener, weights: Callable[..., Path]) -> None:
    path = weights(5)
    plain, mapped = opens.splits.classes, opens(path, class_map={3: "person", 4: "person", 1: None, "*": "background"})
    assert plain == ("background", "person")
    assert mapped.model is not None
    answers = mapped.model(images())
    assert answers.shape == (2, 1, 64, 64)
    with torch.no_grad():
        whole = opens(path, class_map={0: "background", "*": "person"}).model.model(images())  # type: ignore[union-attr]
    wanted = torch.logsumexp(whole[:, [3, 4]], 1) - torch.logsumexp(whole[:, [0, 2]], 1)
    assert torch.allclose(answers[:, 0], wanted, atol=1e-5)


def test_five_classes_without_a_map_are_refused_with_one_to_edit(opens: Opener, weights: Callable[..., Path]) -> None:
    with pytest.raises(SnowmeltError, match=r"the teacher has 5 classes .* teacher\.class_map: \{0: "):
        opens(weights(5))


def test_normalisation_and_size_are_part_of_who_teaches(opens: Opener, weights: Callable[..., Path]) -> None:
    path = weights()
    plain = opens(path)
    assert plain.digest == opens(path).digest
    others = [opens(path, image_size=96), opens(path, mean=[0, 0, 0], std=[1, 1, 1])]
    assert len({plain.digest, *(other.digest for other in others)}) == 3
    assert plain.model is not None and others[0].model is not None
    assert not torch.equal(plain.model(images()), others[0].model(images()))


@pytest.fixture
def maps(tmp_path: Path, splits: Splits) -> Path:
    """A map for each image: the probability of a person rises from left to right."""
    for source in (splits.train, splits.val):
        for index in range(len(source)):
            ramp = np.tile(np.linspace(0.01, 0.99, 32, dtype=np.float32), (32, 1))
            path = tmp_path / "maps" / Path(source.name(index)).with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, ramp)
    return tmp_path / "maps"


def test_maps_teach_through_the_cache(opens: Opener, maps: Path) -> None:
    opened = opens(f"maps:{maps}")
    assert opened.model is None and opened.network is None
    assert choose_mode(opens.config, opened) == "cached"
    teaching, _, report = stored_teaching(opens.config, opened, opens.splits, opens.engine, opens.said.append)
    assert report.images == len(opens.splits.train)
    run = make_run(opens.config, opens.splits, opens.engine, maps / "checkpoints", teaching=teaching)
    batch = next(iter(run.val_batches))
    answers = teaching.examine(batch)
    assert answers.shape == (len(batch), 1, 64, 64)
    assert (answers[:, 0, 32, 60] > 2.5).all() and (answers[:, 0, 32, 3] < -2.5).all()
    with pytest.raises(SnowmeltError, match=r"precomputed maps cannot be asked live; use teacher\.mode=cached"):
        choose_mode(with_values(opens.config, {"teacher": {"mode": "live"}}), opened)


def test_an_image_without_a_map_is_named_before_anything_trains(opens: Opener, maps: Path) -> None:
    (maps / Path(opens.splits.val.name(0)).with_suffix(".npy")).unlink()
    with pytest.raises(SnowmeltError, match=f"1 of .* validation images have no map, {opens.splits.val.name(0)}"):
        opens(f"maps:{maps}")


def features(config: ExperimentConfig, mode: str = "auto") -> ExperimentConfig:
    values = {"distillation": {"feature_weight": 1.0, "feature_layers": ["decoder"]}, "teacher": {"mode": mode}}
    return with_values(config, values)


def test_the_mode_is_cached_unless_something_needs_the_teacher(
    opens: Opener, weights: Callable[..., Path], maps: Path
) -> None:
    opened = opens(weights())
    assert choose_mode(opens.config, opened) == "cached"
    assert choose_mode(with_values(opens.config, {"teacher": {"mode": "live"}}), opened) == "live"
    assert choose_mode(features(opens.config), opened) == "live"
    with pytest.raises(SnowmeltError, match="features need a teacher that is a network here"):
        choose_mode(features(opens.config), opens(f"maps:{maps}"))


def test_answers_are_computed_once_and_shared_by_subsets(opens: Opener, weights: Callable[..., Path]) -> None:
    opened = opens(weights())
    _, cache, first = stored_teaching(opens.config, opened, opens.splits, opens.engine, opens.said.append)
    _, again, second = stored_teaching(opens.config, opened, opens.splits, opens.engine, opens.said.append)
    assert (first.images, second.images) == (len(opens.splits.train), 0)
    assert cache.folder == again.folder
    fewer = open_data(with_values(opens.config, {"data": {"limit": 2}}))
    _, _, third = stored_teaching(opens.config, opened, fewer, opens.engine, opens.said.append)
    assert third.images == 0


def test_the_encoding_can_be_laid_down(opens: Opener, weights: Callable[..., Path]) -> None:
    config = with_values(opens.config, {"teacher": {"cache_precision": "float16", "cache_stride": 4}})
    teaching, cache, _ = stored_teaching(config, opens(weights()), opens.splits, opens.engine, opens.said.append)
    assert (cache.encoding.precision, cache.encoding.stride) == ("float16", 4)
    assert cache.encoding.key in teaching.digest  # so that a run does not go on with another encoding


def test_a_cached_batch_says_what_the_live_teacher_would_say_without_augmentation(
    opens: Opener, weights: Callable[..., Path]
) -> None:
    config = with_values(
        opens.config,
        {"data": {"augmentation": "none"}, "teacher": {"cache_precision": "float16", "cache_stride": 1}},
    )
    opened = opens(weights())
    teaching, _, _ = stored_teaching(config, opened, opens.splits, opens.engine, opens.said.append)
    run = make_run(config, opens.splits, opens.engine, config.output / "checkpoints", teaching=teaching)
    batch = next(iter(run.train_batches))
    assert opened.model is not None
    assert torch.allclose(teaching.train(batch), opened.model(batch.images), atol=2e-3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_folder(tmp_path / "data", count=8)


def test_unlabelled_images_leave_out_what_is_labelled_or_scored(folder: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    shutil.copytree(folder / "images", more)
    for index, path in enumerate(sorted(more.iterdir())):
        path.rename(more / f"renamed_{index}.png")
    config = ExperimentConfig(data={"source": str(folder), "unlabelled": str(more), "limit": 3, "image_size": 64})
    labelled = open_data(config)
    joined, notes = join_unlabelled(config, labelled)
    held_out = len(labelled.val)
    assert isinstance(joined.train, JoinedSource)
    assert (joined.train.labelled, len(joined.train)) == (3, 8 - held_out)
    known = {labelled.val.digest(index) for index in range(held_out)}
    digests = [joined.train.digest(index) for index in range(len(joined.train))]
    assert not known & set(digests) and len(set(digests)) == len(digests)
    assert notes == [
        "3 of the unlabelled images are training images too and are left out",
        f"{held_out} of the unlabelled images are validation images too and are left out",
    ]
    assert labelled_only(joined) == labelled


def test_unlabelled_images_that_are_all_known_are_refused(folder: Path) -> None:
    config = ExperimentConfig(data={"source": str(folder), "unlabelled": str(folder / "images"), "image_size": 64})
    splits = open_data(config)
    with pytest.raises(SnowmeltError, match="every picture in it is a training, validation or test image"):
        join_unlabelled(config, replace(splits))


def test_unlabelled_images_leave_out_test_images_too(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("val", 2), ("test", 3)):
        whole = write_data_folder(tmp_path / "whole" / part, count=count, classes=2 + len(part) % 3)
        for kind in ("images", "masks"):
            shutil.copytree(whole / kind, tmp_path / "data" / part / kind)
    more = write_data_folder(tmp_path / "more", count=2, classes=6) / "images"
    for path in (tmp_path / "data" / "test" / "images").iterdir():
        shutil.copy(path, more / f"held_out_{path.name}")
    config = ExperimentConfig(
        data={"source": str(tmp_path / "data"), "unlabelled": str(more), "image_size": 64, "classes": list("abcd")}
    )
    splits = open_data(config)
    assert splits.test is not None and len(splits.test) == 3
    joined, left_out = join_unlabelled(config, splits)
    assert len(joined.train) == 6 + 2
    assert left_out == ["3 of the unlabelled images are test images too and are left out"]
