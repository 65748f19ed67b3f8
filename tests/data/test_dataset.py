from __future__ import annotations

import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from data_files import NumberedMaps

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, collate
from snowmelt.data.randomness import GEOMETRY, generator
from snowmelt.data.samples import IGNORE_INDEX, Batch, Source, SubsetSource
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.transforms import build_evaluation_transform, build_transform
from snowmelt.data.working import load_working
from snowmelt.errors import SnowmeltError

SOURCE = ScenesSource(6, 0, 40)


def dataset(kind: str = "heavy", seed: int = 1) -> AugmentedDataset:
    return AugmentedDataset(SOURCE, build_transform(kind, 32), seed)


def same(first: tuple, second: tuple) -> bool:
    return all(torch.equal(first[part], second[part]) for part in (0, 1, 5)) and first[2] == second[2]


def test_items_depend_on_seed_epoch_and_index_alone() -> None:
    data = dataset()
    item = data[(2, 3)]
    torch.manual_seed(7)
    data[(0, 0)], data[(2, 4)]
    assert same(data[(2, 3)], item) and same(dataset()[(2, 3)], item)
    assert not same(data[(3, 3)], item) and not same(dataset(seed=2)[(2, 3)], item)


def test_two_images_of_equal_content_are_augmented_differently() -> None:
    twins = AugmentedDataset(SubsetSource(SOURCE, [0, 0]), build_transform("light", 32), 1)
    assert not torch.equal(twins[(0, 0)][0], twins[(0, 1)][0])


def test_no_generator_outside_is_touched() -> None:
    data = dataset()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = random.random(), np.random.rand(), torch.rand(()).item()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    for epoch in range(4):
        data[(epoch, 0)]
    assert (random.random(), np.random.rand(), torch.rand(()).item()) == expected


def test_items_can_be_made_by_threads() -> None:
    data = dataset()
    keys = [(epoch, index) for epoch in range(5) for index in range(6)]
    expected = [data[key] for key in keys]
    with ThreadPoolExecutor(4) as pool:
        assert all(map(same, pool.map(data.__getitem__, keys), expected))


def test_geometry_can_be_replayed_without_colour() -> None:
    """What a cache of teacher predictions relies on: the geometric part alone gives the same mask."""
    data = dataset()
    working = load_working(SOURCE, 2, data.transform.working_side)
    placed = data.transform.place(working, generator(1, 5, 2, GEOMETRY))
    assert torch.equal(placed.mask, data[(5, 2)].mask)


def test_items_are_plain_contiguous_bytes() -> None:
    image, mask, index, *_ = dataset()[(0, 4)]
    assert type(image) is type(mask) is torch.Tensor and index == 4
    assert image.shape == (3, 32, 32) and mask.shape == (32, 32)
    assert image.dtype == mask.dtype == torch.uint8
    assert image.is_contiguous() and mask.is_contiguous()
    assert len(dataset()) == 6


def test_a_filler_is_the_image_with_everything_ignored() -> None:
    image, mask, index, *_ = dataset()[(1, 3)]
    filler = dataset()[(1, -1 - 3)]
    assert torch.equal(filler[0], image) and filler[2] == index == 3
    assert (filler[1] == IGNORE_INDEX).all() and not (mask == IGNORE_INDEX).all()
    assert (dataset()[(0, -1)][1] == IGNORE_INDEX).all()


def test_evaluation_items_are_steady() -> None:
    data = EvaluationDataset(SOURCE, build_evaluation_transform(40))
    image, mask, index, planes, theta, colour = data[5]
    assert planes == () and theta is None and colour is None
    np.testing.assert_array_equal(image.permute(1, 2, 0).numpy(), SOURCE.load(5).image)
    np.testing.assert_array_equal(mask.numpy(), SOURCE.load(5).mask)
    assert index == 5 and len(data) == 6 and type(image) is torch.Tensor


def test_collating() -> None:
    data = dataset()
    batch = collate([data[(0, 3)], data[(0, -1 - 1)]])
    assert batch.images.shape == (2, 3, 32, 32) and batch.masks.shape == (2, 32, 32) and len(batch) == 2
    assert batch.indices.tolist() == [3, 1] and batch.indices.dtype == torch.int64
    assert torch.equal(batch.images[0], data[(0, 3)][0])
    half = batch[1:2]
    assert isinstance(half, Batch) and half.indices.tolist() == [1] and half.images.shape[0] == 1
    assert torch.equal(batch.to("cpu").masks, batch.masks)


def test_maps_travel_with_their_images() -> None:
    data = AugmentedDataset(SOURCE, build_transform("heavy", 32), 1, NumberedMaps())
    batch = collate([data[(0, 3)], data[(0, -1 - 1)], data[(0, 5)]])
    codes, scales = batch.maps
    assert codes.shape == (3, 2, 4, 4) and codes.dtype == torch.uint8
    assert codes[:, 1, 3, 3].tolist() == [30, 10, 50]
    assert scales.dtype == torch.float32 and scales.tolist() == [[3, 3.5], [1, 1.5], [5, 5.5]]
    assert batch.placement is not None and batch.placement.dtype == torch.float32
    assert torch.equal(batch.placement[2], data[(0, 5)][4]) and batch.placement.shape == (3, 2, 3)
    assert (batch.masks[1] == IGNORE_INDEX).all() and batch.indices.tolist() == [3, 1, 5]
    assert torch.equal(data[(0, -1 - 1)][4], data[(0, 1)][4])  # a filler lies where its image lies
    assert not torch.equal(data[(1, 5)][4], data[(0, 5)][4])


def test_without_maps_there_are_none() -> None:
    batch = collate([dataset()[(0, 0)]])
    assert batch.maps == () and batch.placement is None


def test_colours_come_with_the_batch_and_not_with_its_order() -> None:
    data = dataset("light")
    whole = collate([data[(0, index)] for index in range(5)])
    assert whole.colour is not None and whole.colour.shape == (5, 3, 4) and whole.colour.dtype == torch.float32
    coloured = whole.coloured()
    assert coloured.colour is None and coloured.images.dtype == torch.uint8
    assert not torch.equal(coloured.images, whole.images) and torch.equal(coloured.masks, whole.masks)
    for index in range(5):
        alone = collate([data[(0, index)]]).coloured()
        assert torch.equal(alone.images[0], coloured.images[index])
        assert torch.equal(collate([data[(0, -1 - index)]]).coloured().images, alone.images)  # a filler, too
    plain = collate([dataset("none")[(0, 0)]])
    assert plain.colour is None and plain.coloured() is plain


def test_evaluation_brings_maps_too() -> None:
    batch = collate([EvaluationDataset(SOURCE, build_evaluation_transform(40), NumberedMaps())[i] for i in (2, 4)])
    assert batch.maps[1].tolist() == [[2, 2.5], [4, 4.5]]
    assert batch.placement is not None
    torch.testing.assert_close(batch.placement, torch.eye(2, 3).expand(2, 2, 3), rtol=0, atol=1e-6)


def test_datasets_survive_pickling() -> None:
    data = pickle.loads(pickle.dumps(dataset()))
    assert same(data[(1, 1)], dataset()[(1, 1)])


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(SnowmeltError, match="seed -1"):
        dataset(seed=-1)


def test_sources_fulfil_the_protocol() -> None:
    assert isinstance(SOURCE, Source) and isinstance(SubsetSource(SOURCE, [1]), Source)
