from __future__ import annotations

import multiprocessing
import os
import signal

import pytest
import torch
from data_files import NumberedMaps, WriteFolder

from snowmelt.data.dataset import AugmentedDataset, EvaluationDataset, Item, collate
from snowmelt.data.folders import open_folder
from snowmelt.data.loading import evaluation_loader, training_loader
from snowmelt.data.samples import Batch, Sample
from snowmelt.data.sampling import StepSampler
from snowmelt.data.scenes import ScenesSource
from snowmelt.data.transforms import build_evaluation_transform, build_transform
from snowmelt.errors import SnowmeltError

SOURCE = ScenesSource(7, 0, 32)


def trained(workers: int, context: str | None = None) -> list[Batch]:
    sampler = StepSampler(7, 3, 5)
    loader = training_loader(
        AugmentedDataset(SOURCE, build_transform("heavy", 24), 5), sampler, workers, False, context
    )
    batches = []
    for epoch, start in ((0, 0), (1, 1)):
        sampler.set_position(epoch, start)
        batches += list(loader)
    return batches


def equal(first: Batch, second: Batch) -> bool:
    parts = list(zip(first.tensors(), second.tensors(), strict=True))
    return all(torch.equal(one, other) for one, other in parts)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    """Nor does the thread that makes batches where there are no workers: here they are made one by one."""
    alone, helped = trained(0), trained(workers)
    data = AugmentedDataset(SOURCE, build_transform("heavy", 24), 5)
    sampler = StepSampler(7, 3, 5)
    sampler.set_position(1, 1)
    by_hand = [collate([data[key] for key in keys]) for keys in sampler]
    assert all(equal(first, second) for first, second in zip(alone[2:], by_hand, strict=True))
    assert [len(batch) for batch in alone] == [3, 4, 4]
    assert len(alone) == len(helped)
    assert all(equal(first, second) for first, second in zip(alone, helped, strict=True))


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_maps_come_through_workers(context: str) -> None:
    found = []
    for workers in (0, 1):
        data = EvaluationDataset(SOURCE, build_evaluation_transform(24), NumberedMaps())
        found.append(list(evaluation_loader(data, 4, workers, context=context)))
    for alone, helped in zip(*found, strict=True):
        assert equal(alone, helped)
        assert alone.placement is not None and helped.placement is not None
        assert torch.equal(alone.placement, helped.placement)
        assert len(alone.maps) == len(helped.maps) == 2
        assert all(torch.equal(first, second) for first, second in zip(alone.maps, helped.maps, strict=True))
        assert helped.maps[1][:, 0].tolist() == helped.indices.tolist()


def test_an_epoch_left_early_does_not_leak_into_the_next() -> None:
    sampler = StepSampler(7, 2, 5)
    loader = training_loader(AugmentedDataset(SOURCE, build_transform("light", 24), 5), sampler, 1)
    next(iter(loader))
    sampler.set_position(1)
    found = torch.cat([batch.indices for batch in loader])
    assert found.tolist() == [key[1] for step in sampler for key in step]


def test_loading_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(())
    torch.manual_seed(0)
    trained(0)
    list(evaluation_loader(EvaluationDataset(SOURCE, build_evaluation_transform(24)), 3))
    assert torch.equal(torch.rand(()), expected)


@pytest.mark.parametrize(("size", "batch", "world"), [(7, 2, 1), (7, 2, 2), (7, 3, 3), (2, 4, 4)])
def test_evaluation_neither_repeats_nor_drops(size: int, batch: int, world: int) -> None:
    dataset = EvaluationDataset(ScenesSource(size, 0, 16), build_evaluation_transform(16))
    seen = []
    for rank in range(world):
        loader = evaluation_loader(dataset, batch, rank=rank, world_size=world)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(1 <= len(item) <= batch for item in batches)
        seen += [index for item in batches for index in item.indices.tolist()]
    assert sorted(seen) == list(range(size))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_workers_error_arrives_as_the_one_line_it_was(write_folder: WriteFolder, workers: int) -> None:
    root = write_folder(count=3)
    source = open_folder(root)["train"]
    path = root / "images" / "img1.png"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(SnowmeltError) as expected:
        source.load(1)
    loader = evaluation_loader(EvaluationDataset(source, build_evaluation_transform(16)), 1, workers)
    with pytest.raises(SnowmeltError) as caught:
        list(loader)
    assert str(caught.value) == str(expected.value)
    assert caught.value.code == expected.value.code == "image-unreadable"
    assert "\n" not in str(caught.value) and "img1.png" in str(caught.value)


class _Broken(ScenesSource):
    def load(self, index: int) -> Sample:
        if index == 1:
            raise RuntimeError("a fault\nof the program")
        return super().load(index)


@pytest.mark.parametrize("workers", [0, 1])
def test_any_other_error_becomes_one_line_that_names_the_image(workers: int) -> None:
    loader = evaluation_loader(EvaluationDataset(_Broken(2, 0, 16), build_evaluation_transform(16)), 1, workers=workers)
    with pytest.raises(SnowmeltError) as caught:
        list(loader)
    name = _Broken(2, 0, 16).name(1)
    assert str(caught.value).startswith(f"{name}: reading it failed with RuntimeError: a fault of the program; ")
    assert "\n" not in str(caught.value)
    assert "in load\n" in caught.value.__notes__[0]  # where it happened, for --debug


class _ThreadCount(EvaluationDataset):
    def __getitem__(self, index: int) -> Item:
        return Item(torch.zeros(1), torch.zeros(1), torch.get_num_threads())


def test_a_worker_computes_on_one_thread() -> None:
    loader = evaluation_loader(_ThreadCount(SOURCE, build_evaluation_transform(16)), 7, workers=1)
    assert next(iter(loader)).indices.tolist() == [1] * 7


def test_impossible_numbers_of_workers_and_ranks() -> None:
    dataset = EvaluationDataset(SOURCE, build_evaluation_transform(16))
    for options in ({"workers": -1}, {"rank": 1}, {"batch_size": 0}):
        with pytest.raises(SnowmeltError):
            evaluation_loader(dataset, **{"batch_size": 2, **options})  # type: ignore[arg-type]


def test_workers_leave_signals_to_their_parent() -> None:
    """As a terminal or a scheduler sends them to every process of a command; a second SIGTERM ends a worker."""
    loader = evaluation_loader(EvaluationDataset(SOURCE, build_evaluation_transform(16)), 1, workers=1)
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    found = [next(batches)]
    [worker] = set(multiprocessing.active_children()) - before
    assert worker.pid is not None
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    found += batches
    assert len(found) == 7 and worker.is_alive()
    with pytest.raises(SnowmeltError, match=r"died \(exit code 143\) between two images"):
        os.kill(worker.pid, signal.SIGTERM)
        worker.join()
        list(loader)
    assert worker.exitcode == 143
